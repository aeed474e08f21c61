"""Changes to safetensors files: their JSON header, and whole files with other tensors or metadata."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.mutations import CRC, NO_SEAL, OWN, Mutation
from fuzz.odd_values import odd_json_value
from fuzz.tensors import TENSOR_EDITS, TensorEdit

Header = dict[str, Any]
META = "__metadata__"
_DTYPES = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I8",
    "U8",
    "BOOL",
    "F8_E4M3",
    "F4",
    "C64",
    "U64",
    "",
    "f32",
    "X",
)


def split(path: Path) -> tuple[Header, bytes]:
    """Header and data of a whole file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path: Path, header: Header | str, data: bytes) -> None:
    text = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _names(header: Header) -> list[str]:
    return [name for name in header if name != META]


# --- the header, the data as it was ---------------------------------------------------------------


def _dtype(header: Header, rng: random.Random) -> None:
    header[rng.choice(_names(header))]["dtype"] = rng.choice(_DTYPES)


def _all_dtypes(header: Header, rng: random.Random) -> None:
    dtype = rng.choice(("F32", "I32", "U32"))
    for name in _names(header):
        if header[name]["dtype"] == "F32":
            header[name]["dtype"] = dtype


def _shape(header: Header, rng: random.Random) -> None:
    shape = header[rng.choice(_names(header))]["shape"]
    value = rng.choice((0, -1, 1, 2**31, 2**63, 2**64, 1.5, "3", None))
    if shape:
        shape[rng.randrange(len(shape))] = value
    else:
        shape.append(value)


def _shape_of_another_order(header: Header, rng: random.Random) -> None:
    name = rng.choice([name for name in _names(header) if len(set(header[name]["shape"])) > 1])
    header[name]["shape"].reverse()


def _twins(header: Header, rng: random.Random) -> tuple[str, str]:
    """Two tensors of the same type and shape."""
    while True:
        one = rng.choice(_names(header))
        like = {key: header[one][key] for key in ("dtype", "shape")}
        others = [name for name in _names(header) if name != one and {key: header[name][key] for key in like} == like]
        if others:
            return one, rng.choice(others)


def _swapped_offsets(header: Header, rng: random.Random) -> None:
    one, other = _twins(header, rng)
    header[one]["data_offsets"], header[other]["data_offsets"] = (
        header[other]["data_offsets"],
        header[one]["data_offsets"],
    )


def _shared_offsets(header: Header, rng: random.Random) -> None:
    one, other = _twins(header, rng)
    header[one]["data_offsets"] = list(header[other]["data_offsets"])


def _odd_offsets(header: Header, rng: random.Random) -> None:
    offsets = header[rng.choice(_names(header))]["data_offsets"]
    place = rng.randrange(2)
    offsets[place] = rng.choice((0, -1, offsets[place] + 4, 2**63, 2**64 - 1, 1e3, "0", None))


def _renamed(header: Header, rng: random.Random) -> None:
    name = rng.choice(_names(header))
    header[rng.choice((name + "x", name[1:], "module." + name, "", "\0", "\u202e" + name, "k" * 5000))] = header.pop(
        name
    )


def _dropped(header: Header, rng: random.Random) -> None:
    del header[rng.choice(_names(header))]


def _doubled(header: Header, rng: random.Random) -> None:
    name = rng.choice(_names(header))
    header[name + ".copy"] = dict(header[name])


def _field(header: Header, rng: random.Random) -> None:
    entry = header[rng.choice(_names(header))]
    field = rng.choice(list(entry))
    if rng.random() < 0.5:
        del entry[field]
    else:
        entry[field] = odd_json_value(rng)


def _swapped_names(header: Header, rng: random.Random) -> None:
    one, other = _twins(header, rng)
    header[one], header[other] = header[other], header[one]


_HEADER_EDITS: dict[str, Callable[[Header, random.Random], None]] = {
    "type of a tensor": _dtype,
    "types of all tensors": _all_dtypes,
    "shape of a tensor": _shape,
    "shape in another order": _shape_of_another_order,
    "places of two tensors swapped": _swapped_offsets,
    "one place for two tensors": _shared_offsets,
    "odd places": _odd_offsets,
    "tensor renamed": _renamed,
    "tensor left out": _dropped,
    "tensor twice": _doubled,
    "a field of a tensor": _field,
    "names of two tensors swapped": _swapped_names,
}


def header_edit(edit: Callable[[Header, random.Random], None]) -> Callable[[Path, random.Random], None]:
    def apply(path: Path, rng: random.Random) -> None:
        header, data = split(path)
        edit(header, rng)
        join(path, header, data)

    return apply


def _text(path: Path, rng: random.Random) -> None:
    """A header that is no JSON that one expects."""
    header, data = split(path)
    text = json.dumps(header)
    first = json.dumps({_names(header)[0]: header[_names(header)[0]]})[1:-1]
    odd = (
        "[" * 100_000,
        '{"a":' * 50_000,
        text[:-1] + f", {first}}}",  # a name twice
        text.replace('"F32"', '"\\u0046\\u0033\\u0032"'),
        " " * 5000 + text,
        text + " " * 5000,
        "\ufeff" + text,
        text.replace("[", "[ ", 1).replace("{", "{\n", 1),
        text.replace("0,", "-0,", 1),
        text.replace("0,", "1e999,", 1),
        "null",
        "{}",
        '{"__metadata__": {}}',
        '{"__metadata__": null}',
        text + "\ud800",
        "",
    )
    join(path, rng.choice(odd), data)


# --- metadata -------------------------------------------------------------------------------------


def edit_metadata(text: str, rng: random.Random) -> str:
    """fastvit's JSON text with one field left out, or of another value or kind."""
    fields = json.loads(text)
    where: Any = fields
    if rng.random() < 0.4:
        where = fields["preprocessing"]
    name = rng.choice([key for key in where if key not in ("checksum", "recipe")])
    if rng.random() < 0.15:
        del where[name]
    elif name == "class_names" and rng.random() < 0.6:
        names = where[name]
        where[name] = rng.choice(
            (names[::-1], names[:-1], [*names, "x"], names[:1] * len(names), [1, 2, 3], ["\x1b[2J", "\n", ""], "abc")
        )
    elif name in ("mean", "std") and rng.random() < 0.6:
        where[name] = rng.choice(
            ([0.5, 0.5], [0, 0, 0], [1e30] * 3, [-1.0] * 3, [float("nan")] * 3, [0.1, 0.2, 0.3, 0.4])
        )
    elif name in ("img_size", "num_classes", "epoch") and rng.random() < 0.7:
        where[name] = rng.choice((0, -1, 32, 10**9, 64.5, 2**70, 1e300, True))
    else:
        where[name] = odd_json_value(rng)
    return json.dumps(fields)


def _metadata(edit: Callable[[str, random.Random], Any]) -> Callable[[Path, random.Random], None]:
    def apply(path: Path, rng: random.Random) -> None:
        header, data = split(path)
        header[META]["fastvit"] = edit(header[META]["fastvit"], rng)
        join(path, header, data)

    return apply


def odd_metadata_text(text: str, rng: random.Random) -> Any:
    """No metadata that one expects: not JSON, nested deeply, long, or no text."""
    return rng.choice(
        (
            "",
            "null",
            "[]",
            "7",
            "[" * 100_000,
            '{"a":' * 20_000 + "1" + "}" * 20_000,
            text[:-5],
            text.replace('"version": 1', '"version": 2'),
            text.replace('"version": 1', '"version": "1"'),
            text.replace('"version": 1', '"version": 1e999'),
            '{"version": ' + "9" * 5000 + "}",
            text.replace("{", '{"odd": ' + "[" * 900 + "]" * 900 + ", ", 1),
            text.replace("{", '{"checksum": null, ', 1),
            {"a": 1},
            None,
            7,
        )
    )


def _no_metadata(path: Path, rng: random.Random) -> None:
    header, data = split(path)
    if rng.random() < 0.5:
        del header[META]
    else:
        header[META]["vitfast"] = header[META].pop("fastvit")
    join(path, header, data)


# --- whole files with other tensors ---------------------------------------------------------------


def _rewritten(edit: TensorEdit) -> Callable[[Path, random.Random], None]:
    def apply(path: Path, rng: random.Random) -> None:
        from safetensors.torch import load_file, save_file

        header, _ = split(path)
        tensors = load_file(path)
        edit(tensors, rng)
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path, header.get(META))

    return apply


def safetensors_mutations(*, with_metadata: bool) -> list[Mutation]:
    """Changes that leave a safetensors file's own structure whole, more or less."""
    found = [Mutation(f"header: {name}", header_edit(edit)) for name, edit in _HEADER_EDITS.items()]
    found += [Mutation(f"rewritten: {name}", _rewritten(edit)) for name, edit in TENSOR_EDITS.items()]
    found.append(Mutation("header: odd text", _text))
    if with_metadata:
        found.append(Mutation("metadata: a field", _metadata(edit_metadata)))
        found.append(Mutation("metadata: odd text", _metadata(odd_metadata_text)))
        found.append(Mutation("metadata: left out", _no_metadata, frozenset((CRC, OWN, NO_SEAL))))
    return found
