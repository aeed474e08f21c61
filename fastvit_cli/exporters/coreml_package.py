"""The folder that a Core ML package is: whole or not at all, the same twice, and as one file on request."""

import contextlib
import json
import re
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastvit_cli.atomic import replaced_when_done, temporary_prefix
from fastvit_cli.errors import FastViTError

_NUMBERED = re.compile(r"const_\d+")


@contextlib.contextmanager
def package_replaced_when_done(path: Path) -> Iterator[Path]:
    """As `atomic.replaced_when_done`, for a folder: an old package goes when the new one is complete.

    Raises:
        FastViTError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=temporary_prefix(path), dir=path.parent))
    except OSError as error:
        raise FastViTError(
            f"Cannot write to '{path.parent}' ({error.strerror}).", "Pass --output with a folder you may write."
        ) from error
    try:
        yield workplace / path.name
        if path.exists():  # a folder cannot be renamed onto another one
            path.rename(workplace / "old")
        try:
            (workplace / path.name).rename(path)
        except OSError:
            if (workplace / "old").exists():
                (workplace / "old").rename(path)
            raise
    except OSError as error:
        raise FastViTError(
            f"Writing '{path}' failed ({error.strerror}).", "Free some space or pass another --output."
        ) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def make_reproducible(package: Path) -> None:
    """Take out what differs between two exports of the same model: random identifiers and the order of maps.

    And a note of coremltools to another of its programs, which no manifest names.
    """
    from coremltools.proto import Model_pb2

    (package / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
    manifest_file = package / "Manifest.json"
    manifest = json.loads(manifest_file.read_text())
    entries = manifest["itemInfoEntries"]
    stable = {key: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])).upper() for key, entry in entries.items()}
    renamed = {stable[key]: entry for key, entry in entries.items()}
    manifest["itemInfoEntries"] = dict(sorted(renamed.items()))
    manifest["rootModelIdentifier"] = stable[manifest["rootModelIdentifier"]]
    manifest_file.write_text(json.dumps(manifest, indent=4) + "\n")
    for model_file in package.rglob("*.mlmodel"):
        model = Model_pb2.Model.FromString(model_file.read_bytes())
        for function in model.mlProgram.functions.values():
            for block in function.block_specializations.values():
                _number_constants(block)
        model_file.write_bytes(model.SerializeToString(deterministic=True))


def _number_constants(block: Any) -> None:
    """Number the constants without a name of their own by their order; coremltools does by one that varies."""
    names: dict[str, str] = {}
    for operation in block.operations:
        for output in operation.outputs:
            if operation.type == "const" and _NUMBERED.fullmatch(output.name):
                names[output.name] = output.name = f"constant_{len(names)}"
                operation.attributes["name"].immediateValue.tensor.strings.values[0] = output.name
        for given in operation.inputs.values():
            for argument in given.arguments:
                if argument.name in names:  # setting the name of an inline value would drop the value
                    argument.name = names[argument.name]


def pack(package: Path) -> Path:
    """Write `<package>.zip` beside it, which unpacks to the package; the same bytes for the same package.

    Raises:
        FastViTError: the folder cannot be written.
    """
    packed = package.with_name(f"{package.name}.zip")
    with replaced_when_done(packed) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in package.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(package.parent).as_posix())  # dated 1980, wherever and whenever
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return packed
