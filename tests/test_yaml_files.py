"""YAML that a person might have written, and what somebody else might put in its place."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fastvit_cli.errors import FastViTError
from fastvit_cli.training.resolve_options import read_config_file
from fastvit_cli.yaml_files import MOST_BYTES, read_yaml, read_yaml_file


def test_plain_values() -> None:
    content = "\ufefflr: 5e-4 # small\nbatch-size: 8\ndata: 'größe'\nteacher: null\nexif: true\nx: [1, 2.5]\n"
    assert read_yaml(content.encode(), "it") == {
        "lr": "5e-4",
        "batch-size": 8,
        "data": "größe",
        "teacher": None,
        "exif": True,
        "x": [1, 2.5],
    }


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 9)}]\n" for name in "bcdefghi"
)
REFUSED = {
    "an alias for each of many": (LAUGHS, "alias or anchor 'a'"),
    "an alias of itself": ("a: &x [*x]", "alias or anchor 'x'"),
    "a merge": ("a: &x {b: 1}\nc: {<<: *x}", "alias or anchor 'x'"),
    "a long anchor": (f"a: &{'x' * 5000} 1", "alias or anchor 'xxx"),
    "lists in lists": ("a: " + "[" * 30_000, "levels"),
    "names in names": ("".join(" " * i + "a:\n" for i in range(200)), "levels"),
    "too large": ("a: 1\n" + "#" * MOST_BYTES, "larger than 64 KiB"),
    "a number of base 60": ("a: 1" + ":1" * 30_000, "60001 characters"),
    "a name twice": ("lr: 1\nepochs: 2\nlr: 3", "sets 'lr' twice"),
    "Python": ("a: !!python/object/apply:os.system ['touch x']", "no YAML"),
    "a date that is none": ("a: 2024-99-99", "no YAML"),
    "a tag that does not fit": ("a: !!timestamp x", "no YAML"),
    "another tag that does not fit": ("a: !!bool x", "no YAML"),
    "a very long number": ("a: " + "9" * 9000, "no YAML"),
    "half of it": ("a: [", "no YAML"),
    "a control character": ("a: \x00", "no YAML"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind: str, tmp_path: Path) -> None:
    content, words = REFUSED[kind]
    (tmp_path / "c.yaml").write_text(content)
    started = time.perf_counter()
    with pytest.raises(FastViTError, match=words) as caught:
        read_config_file(tmp_path / "c.yaml")
    assert time.perf_counter() - started < 5
    assert str(tmp_path / "c.yaml") in caught.value.message
    assert len(caught.value.message) < len(str(tmp_path)) + 200
    assert "\n" not in str(caught.value)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(FastViTError, match="no YAML"):
        read_yaml_file(tmp_path / "c.yaml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(FastViTError, match="is no file"):
        read_yaml_file(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "content",
    ["x" * 900 + ": 1", "epochs: " + "x" * 9999, "data: " + "x" * 9999, "opt: " + "x" * 81, f"lr: [{'1, ' * 3000}]"],
)
def test_messages_show_the_beginning_of_a_value(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(FastViTError) as caught:
        read_config_file(tmp_path / "c.yaml")
    assert "…" in caught.value.message
    assert len(caught.value.message) < len(str(tmp_path)) + 200
