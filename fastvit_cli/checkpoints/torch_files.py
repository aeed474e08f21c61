"""What `torch.save` writes, read without running or copying it: the archive, and the format before torch 1.6."""

import io
import mmap
import zipfile
import zlib
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from fastvit_cli.checkpoints.pickles import (
    MOST_BYTES,
    Call,
    ForbiddenGlobalError,
    Global,
    Persistent,
    PickleError,
    read_pickle,
)
from fastvit_cli.checkpoints.stored import StateDicts, StoredTensor
from fastvit_cli.errors import FastViTError, excerpt

_DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what the format before 1.6 begins with
_LEVELS = 8  # of dictionaries in dictionaries


@dataclass(frozen=True)
class _Record:
    """Where the numbers of one storage stand in the file, in bytes; `crc` is 0 where the file has none."""

    start: int
    size: int
    crc: int = 0


@dataclass(frozen=True)
class _Storages:
    """The numbers of a file, mapped into memory, and where each storage begins."""

    path: Path
    memory: mmap.mmap
    records: dict[str, _Record]
    big_endian: bool

    def read(self, name: str, call: Call) -> Tensor:
        """The tensor that a call of one of `torch._utils._rebuild_…` stands for; a view of the file where it can be.

        Raises:
            FastViTError: damaged, without numbers, or of another kind than plain ones.
        """
        kind = call.function.removeprefix("torch._utils._rebuild_")
        if not kind.startswith("tensor"):
            named = _OTHER_KINDS.get(kind, "unknown")
            raise FastViTError(
                f"'{self.path}' holds {named} in {excerpt(name)}, not plain numbers.",
                "Save the state dict of the network as plain float tensors, and pass that file.",
            )
        try:
            return self._plain(kind, call.args)
        except PickleError as error:
            raise _damaged(self.path, f"{excerpt(name)}: {error}") from error
        except Exception as error:  # whatever a damaged description of a tensor leads to
            raise _damaged(self.path, f"{excerpt(name)} cannot be read") from error

    def _plain(self, kind: str, args: tuple[Any, ...]) -> Tensor:
        storage, offset, shape, stride = args[:4]
        word, of_type, key, _, count, *view = storage.key
        dtype = _type_of(of_type)
        record = self.records[key]
        if word != "storage" or (view and view[0]) or record.size != count * dtype.itemsize:
            raise PickleError("its storage has another size")
        if kind == "tensor_v3":  # bytes, and the type apart
            dtype = getattr(torch, args[6].name.rpartition(".")[2])
        if dtype.itemsize * _product(shape) > len(self.memory):
            raise PickleError("it is larger than the file")
        if record.size == 0:
            return torch.empty(tuple(shape), dtype=dtype)
        if (
            record.crc
            and zlib.crc32(memoryview(self.memory)[record.start : record.start + record.size]) != record.crc
        ):
            raise PickleError("its checksum differs")
        return self._flat(record, dtype).as_strided(tuple(shape), tuple(stride), offset)

    def _flat(self, record: _Record, dtype: torch.dtype) -> Tensor:
        if record.start % dtype.itemsize == 0 and not self.big_endian:
            return torch.frombuffer(
                self.memory, dtype=dtype, count=record.size // dtype.itemsize, offset=record.start
            )
        numbers = torch.frombuffer(
            bytearray(self.memory[record.start : record.start + record.size]), dtype=torch.uint8
        )
        if self.big_endian:
            numbers = numbers.reshape(-1, dtype.itemsize).flip(1).reshape(-1)
        return numbers.view(dtype)


_OTHER_KINDS = {
    "sparse_tensor": "a sparse tensor",
    "qtensor": "a quantised tensor",
    "meta_tensor_no_storage": "a tensor of the meta device",
    "wrapper_subclass": "a tensor of another library",
}


_UTF8 = 0x800  # of a zip entry's flags


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def read_torch_file(path: Path) -> StateDicts:
    """All tensors of a file that `torch.save` wrote, not read yet.

    Raises:
        FastViTError: damaged, not written by torch.save, or it names an object that could run code.
    """
    try:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # only torch's idea of a buffer: unchanged
            is_archive = memory[:4] == b"PK\x03\x04"
            return _state_dicts(*(_archive(path, file, memory) if is_archive else _legacy(path, memory)))
    except ForbiddenGlobalError as error:
        raise FastViTError(
            f"'{path}' asks to run code on loading: it names {excerpt(error.name)}; nothing in it was run.",
            "Ask its author for a file of plain tensors (safetensors, or torch.save of a state dict).",
        ) from error
    except PickleError as error:
        raise _damaged(path, f"{error}; nothing in it was run") from error
    except zipfile.BadZipFile as error:
        raise _damaged(path, excerpt(error)) from error
    except FastViTError:
        raise
    except OSError as error:
        raise FastViTError(f"'{path}' cannot be read ({error.strerror}).", "Check its permissions.") from error
    except Exception as error:  # whatever a damaged table of contents leads to
        raise _damaged(path, type(error).__name__) from error


def check_archive(path: Path) -> None:
    """Compare all records of an archive that `torch.save` wrote with their checksums, which torch.load does not do.

    Raises:
        FastViTError, BadZipFile: a record is not whole, or is none that PyTorch writes.
        OSError, ValueError: it cannot be read, or is empty.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # before any of it is mapped, however large it is
            raise zipfile.BadZipFile("it is no archive")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            for name, record in _records(path, file, memory).items():
                if record.crc and zlib.crc32(memory[record.start : record.start + record.size]) != record.crc:
                    raise zipfile.BadZipFile(f"the checksum of {name} differs")


def _damaged(path: Path, why: str) -> FastViTError:
    return FastViTError(f"'{path}' is a damaged PyTorch checkpoint ({why}).", "Fetch or save it again.")


def _archive(path: Path, file: IO[bytes], memory: mmap.mmap) -> tuple[Any, _Storages]:
    """The format since 1.6: a zip archive of `NAME/data.pkl`, `NAME/data/0` and so on, none of them compressed."""
    records = _records(path, file, memory)
    if "data.pkl" not in records:
        raise zipfile.BadZipFile("it has no data.pkl")

    def content(name: str) -> bytes:
        record = records[name]
        if record.size > MOST_BYTES:
            raise zipfile.BadZipFile(f"{name} is larger than in any checkpoint")
        found = memory[record.start : record.start + record.size]
        if record.crc and zlib.crc32(found) != record.crc:
            raise zipfile.BadZipFile(f"the checksum of {name} differs")
        return found

    pickled = read_pickle(io.BytesIO(content("data.pkl")))
    big_endian = "byteorder" in records and content("byteorder") == b"big"
    numbers = {name.removeprefix("data/"): record for name, record in records.items() if name.startswith("data/")}
    return pickled, _Storages(path, memory, numbers, big_endian)


def _records(path: Path, file: IO[bytes], memory: mmap.mmap) -> dict[str, _Record]:
    """What the archive holds, by its names without the first folder.

    Raises:
        FastViTError: a program; or a record is compressed, or lies over another or outside the file, which PyTorch
            never writes, and which could make any size of a small file.
        BadZipFile: damaged.
    """
    records: dict[str, _Record] = {}
    with zipfile.ZipFile(file) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        ends = [entry.header_offset for entry in entries[1:]] + [archive.start_dir]
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise FastViTError(
            f"'{path}' is a TorchScript program, not weights.", "Pass the checkpoint that it was made from."
        )
    for entry, end in zip(entries, ends, strict=True):
        header = memory[max(entry.header_offset, 0) : entry.header_offset + 30]
        names = entry.header_offset + 30
        end_of_names = names + int.from_bytes(header[26:28], "little")
        start = end_of_names + int.from_bytes(header[28:30], "little")
        name = entry.filename.partition("/")[2]
        encoded = entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8 else "cp437")
        if header[:4] != b"PK\x03\x04" or name in records:
            raise zipfile.BadZipFile(f"record {excerpt(name)} is broken")
        if entry.compress_type or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise _refused_record(path, name, "is compressed")
        if start + entry.file_size > end:
            raise _refused_record(path, name, "is larger than its place in the file")
        if memory[names:end_of_names] != encoded:
            raise zipfile.BadZipFile(f"record {excerpt(name)} has another name before its content")
        records[name] = _Record(start, entry.file_size, entry.CRC)
    return records


def _refused_record(path: Path, name: str, why: str) -> FastViTError:
    return FastViTError(
        f"'{path}' was not written by PyTorch, or is damaged: its record {excerpt(name)} {why}; it was not read.",
        "Save it with torch.save, or fetch it from its source again.",
    )


def _legacy(path: Path, memory: mmap.mmap) -> tuple[Any, _Storages]:
    """The format before 1.6: five pickles, then each storage behind the number of its elements."""
    stream: Any = memory  # has the two methods of a file that are used
    if read_pickle(stream) != _MAGIC or read_pickle(stream) != _PROTOCOL:
        raise PickleError("it is a pickle that torch.save did not write")
    storages: list[Persistent] = []
    system, content, keys = read_pickle(stream), read_pickle(stream, storages), read_pickle(stream)
    big_endian = isinstance(system, dict) and system.get("little_endian") is False
    sizes = {storage.key[2]: _type_of(storage.key[1]).itemsize for storage in storages}
    records, position = {}, memory.tell()
    for key in keys:
        size = int.from_bytes(memory[position : position + 8], "big" if big_endian else "little") * sizes[key]
        position += 8
        if position + size > len(memory):
            raise PickleError("a storage is larger than the file")
        records[key] = _Record(position, size)
        position += size
    return content, _Storages(path, memory, records, big_endian)


def _type_of(storage: Global) -> torch.dtype:
    """The type of the numbers in a `torch.FloatStorage`."""
    return _DTYPES[storage.name.rpartition(".")[2].removesuffix("Storage")]


_MAPPINGS = frozenset(("collections.OrderedDict", "collections.defaultdict", "collections.Counter"))


def _state_dicts(content: Any, storages: _Storages) -> StateDicts:
    """The dictionaries of tensors at any level, each once."""
    found: StateDicts = {}
    seen = set()
    todo: deque[tuple[tuple[str, ...], Any]] = deque([((), content)])
    while todo:
        path, value = todo.popleft()
        entries = value.entries if isinstance(value, Call) and value.function in _MAPPINGS else value
        if not isinstance(entries, dict) or id(entries) in seen or len(path) > _LEVELS:
            continue
        seen.add(id(entries))
        for key, inner in entries.items():
            call = _tensor_call(inner)
            if call is None:
                todo.append(((*path, str(key)), inner))
            else:
                stored = StoredTensor(_identity(call), partial(storages.read, str(key), call))
                found.setdefault(path, {})[str(key)] = stored
    return found


_WRAPPERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")


def _tensor_call(value: Any) -> Call | None:
    """The call that makes a tensor, out of those around it; None for any other value."""
    for _ in range(3):  # a parameter around a tensor with attributes of its own
        if not isinstance(value, Call) or not value.args:
            return None
        if value.function in (*_WRAPPERS, "torch.nn.parameter.Parameter"):
            value = value.args[0]
        elif value.function == "torch._tensor._rebuild_from_type_v2" and len(value.args) > 2:
            function, _, args, *_ = value.args
            value = Call(function.name, args) if isinstance(function, Global) and isinstance(args, tuple) else None
        else:
            break
    is_tensor = isinstance(value, Call) and value.function.startswith("torch._utils._rebuild_")
    return value if is_tensor else None


def _identity(call: Call) -> Hashable:
    """Equal for two tensors of the same numbers."""
    storage, *view = call.args[:4]
    key = storage.key[2] if isinstance(storage, Persistent) and len(storage.key) > 2 else id(call)
    return f"{key} {view}"
