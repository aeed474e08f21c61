"""YAML from users and run folders: the plain part of it, bounded in size and depth."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from fastvit_cli.errors import FastViTError, excerpt

MOST_BYTES = 2**16  # a run's config.yaml has two thousand
_DEEPEST = 8
_LONGEST_SCALAR = 10_000
_HINT = "Pass a run's config.yaml, or lines of `name: value`."


def read_yaml(content: bytes, where: str) -> Any:
    """The values of one YAML document in UTF-8.

    Args:
        where: how to name the file in errors.

    Raises:
        FastViTError: no YAML, a name that is set twice, an alias, which could stand for any amount of memory, or
            larger or deeper than an option can be.
    """
    if len(content) > MOST_BYTES:
        raise FastViTError(f"{where} is larger than {MOST_BYTES // 1024} KiB.", _HINT)
    try:
        return yaml.load(content.decode("utf-8-sig"), Loader=_PlainLoader)  # a SafeLoader with less
    except _TooMuchError as error:
        raise FastViTError(f"{where} {error}.", _HINT) from error
    except Exception as error:  # PyYAML raises unrelated types for a tag that does not fit its value
        raise FastViTError(f"{where} is no YAML file.", _HINT) from error


def read_yaml_file(path: Path) -> Any:
    """The values in a file, see `read_yaml`.

    Raises:
        FastViTError: it is no plain YAML.
        OSError: it cannot be read.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FastViTError(f"'{path}' is no file.", _HINT)  # a pipe may never end
    with path.open("rb") as file:
        return read_yaml(file.read(MOST_BYTES + 1), f"'{path}'")


class _TooMuchError(Exception):
    """YAML that we do not read; the message completes `FILE …`."""


class _PlainLoader(yaml.SafeLoader):
    """No aliases, no depth, no long numbers (those of base 60 take a square of their length), each name once."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call] # types-PyYAML has none for it
        if event.anchor is not None:  # of an alias as well
            raise _TooMuchError(f"holds the alias or anchor '{excerpt(event.anchor)}', which is not read")
        if self._depth >= _DEEPEST:
            raise _TooMuchError(f"holds more than {_DEEPEST} levels of lists and names")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST_SCALAR:
            raise _TooMuchError(f"holds a value of {len(event.value)} characters")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = next((name for name, times in names.items() if times > 1), None)
        if twice is not None:
            raise _TooMuchError(f"sets '{excerpt(twice)}' twice")
        return super().construct_mapping(node, deep)
