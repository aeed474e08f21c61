"""Changes to exported models: a folder with the model in it and the files beside it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.archives import zip_mutations
from fuzz.headers import edit_metadata, odd_metadata_text
from fuzz.mutations import OWN, Mutation, byte_mutations, inside, place_mutations

STEM = "a"
PACKAGE = f"{STEM}.mlpackage"
_CORE_ML = f"{PACKAGE}/Data/com.apple.CoreML"
FILES = {
    "onnx": (f"{STEM}.onnx",),
    "onnx with side file": (f"{STEM}.onnx", f"{STEM}.onnx.data"),
    "coreml": (f"{_CORE_ML}/weights/weight.bin", f"{_CORE_ML}/model.mlmodel", f"{PACKAGE}/Manifest.json"),
    "torchscript": (f"{STEM}.torchscript",),
    "pt2": (f"{STEM}.pt2",),
    "openvino": (f"{STEM}.xml", f"{STEM}.bin"),
}
"""Of each format, the one that is opened first, but for Core ML, whose package is a folder."""


def opened(format_: str) -> str:
    """What a command is given, of the files in the folder."""
    return PACKAGE if format_ == "coreml" else FILES[format_][0]


# --- ONNX -----------------------------------------------------------------------------------------


def with_side_file(path: Path) -> None:
    """Put the weights of an ONNX file beside it, as other programs do, for whose change the checksum is taken out."""
    import onnx
    from helpers.exports import save_changed

    save_changed(onnx.load(path), path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)


def _initializer(model: Any, rng: random.Random) -> None:
    """A weight with one number changed, or two weights swapped."""
    some = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= 16]
    tensor = rng.choice(some)
    what = rng.randrange(4)
    if what == 0:
        twins = [other for other in some if other.dims == tensor.dims and other.data_type == tensor.data_type]
        other = rng.choice(twins)
        tensor.raw_data, other.raw_data = other.raw_data, tensor.raw_data
        return
    data = bytearray(tensor.raw_data)
    place = 4 * rng.randrange(len(data) // 4)
    if what == 1:
        data[place] ^= 1
    else:
        data[place : place + 4] = rng.choice((b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\xca\xf2\x49\x71", bytes(4)))
    tensor.raw_data = bytes(data)


def _dims(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(list(model.graph.initializer))
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, -1, 1, 2**31, 2**62))


def _node(model: Any, rng: random.Random) -> None:
    nodes = model.graph.node
    node = rng.choice(list(nodes))
    what = rng.randrange(5)
    if what == 0:
        node.op_type = rng.choice(("Relu", "Nosuch", "Identity", "Loop", ""))
    elif what == 1 and node.input:
        node.input[0] = rng.choice(("nosuch", "", node.output[0], nodes[0].input[0]))
    elif what == 2 and node.attribute:
        attribute = rng.choice(list(node.attribute))
        attribute.i = rng.choice((0, -1, 7, 2**62))
        if attribute.ints:
            attribute.ints[0] = rng.choice((0, -1, 2, 2**40))
    elif what == 3:
        del nodes[rng.randrange(len(nodes))]
    else:
        node.domain = "com.example"


def _ports(model: Any, rng: random.Random) -> None:
    graph = model.graph
    what = rng.randrange(5)
    if what == 0:
        extra = graph.input.add()
        extra.CopyFrom(graph.input[0])
        extra.name = "second"
    elif what == 1:
        name = "o" * 300
        for node in graph.node:
            if graph.output[0].name in node.output:
                node.output[list(node.output).index(graph.output[0].name)] = name
        graph.output[0].name = name
    elif what == 2:
        del graph.output[:]
    elif what == 3:
        graph.input[0].type.tensor_type.shape.dim[2].dim_value = rng.choice((0, -1, 32, 2**40))
    else:
        graph.output.add().CopyFrom(graph.output[0])


def _onnx_metadata(model: Any, rng: random.Random) -> None:
    prop = next(prop for prop in model.metadata_props if prop.key == "fastvit")
    text = edit_metadata(prop.value, rng) if rng.random() < 0.7 else str(odd_metadata_text(prop.value, rng))
    prop.value = text.encode("utf-8", "replace").decode()


def _onnx_without_metadata(model: Any, rng: random.Random) -> None:
    if rng.random() < 0.5:
        del model.metadata_props[:]
    else:
        for prop in model.metadata_props:
            prop.key += "x"


def _versions(model: Any, rng: random.Random) -> None:
    if rng.random() < 0.5:
        model.ir_version = rng.choice((0, 1, 99, 2**40))
    else:
        model.opset_import[0].version = rng.choice((0, 1, 9, 99, 2**40))


def _side_place(model: Any, rng: random.Random) -> None:
    """Where the weights are, in the side file or anywhere."""
    tensor = rng.choice([tensor for tensor in model.graph.initializer if tensor.external_data])
    entry = rng.choice(list(tensor.external_data))
    odd = {
        "location": ("/etc/passwd", "../a.onnx", "nosuch.data", "", "a.onnx", "x" * 5000, "/dev/zero"),
        "offset": ("0", "4", "-4", "99999999999", "x", ""),
        "length": ("0", "4", "-4", "99999999999", "x", ""),
    }
    entry.value = rng.choice(odd.get(entry.key, ("x",)))


def _of_graph(edit: Callable[[Any, random.Random], None]) -> Callable[[Path, random.Random], None]:
    def apply(folder: Path, rng: random.Random) -> None:
        import onnx

        path = folder / f"{STEM}.onnx"
        model = onnx.load(path, load_external_data=False)
        edit(model, rng)
        path.write_bytes(model.SerializeToString())

    return apply


def _onnx_mutations(*, side: bool) -> list[Mutation]:
    edits: dict[str, Callable[[Any, random.Random], None]] = {
        "a shape": _dims,
        "a node": _node,
        "inputs and outputs": _ports,
        "metadata": _onnx_metadata,
        "versions": _versions,
        ("place of weights" if side else "weights"): _side_place if side else _initializer,
    }
    found = [Mutation(f"ONNX: {name}", _of_graph(edit)) for name, edit in edits.items()] * 4
    return [*found, Mutation("ONNX: no metadata", _of_graph(_onnx_without_metadata), frozenset((OWN,)))]


# --- text -----------------------------------------------------------------------------------------


def _text_mutations(name: str) -> list[Mutation]:
    """Of an XML or a JSON file: one number, one word in quotes, one line."""

    def edit(pattern: str, choices: tuple[str, ...]) -> Callable[[Path, random.Random], None]:
        def apply(folder: Path, rng: random.Random) -> None:
            text = (folder / name).read_text()
            found = list(re.finditer(pattern, text))
            if not found:
                return
            match = rng.choice(found)
            (folder / name).write_text(text[: match.start(1)] + rng.choice(choices) + text[match.end(1) :])

        return apply

    numbers = ("0", "-1", "1", "2", "99999999999999999999", "x", "")
    words = ("", "x", "Parameter", "f16", "i64", "../../x", "&lt;", "x" * 5000)
    kinds = {
        "a number": (r'"(\d+)"', numbers),
        "a word": (r'"([A-Za-z][^"]*)"', words),
        "a line": (r"\n(.*)\n", ("", "<x>")),
    }
    return [Mutation(f"{name}: {what}", edit(*how)) for what, how in kinds.items() for _ in range(6)]


def _entity_bomb(folder: Path, _rng: random.Random) -> None:
    path = folder / f"{STEM}.xml"
    levels = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 12))
    text = path.read_text()
    start = text.index("<net")
    bomb = f'<!DOCTYPE net [<!ENTITY e0 "aaaaaaaaaa">{levels}]>'
    path.write_text(text[:start] + bomb + text[start:].replace('name="', 'name="&e11;', 1))


# --- sides ----------------------------------------------------------------------------------------


def _halves_swapped(name: str) -> Mutation:
    def apply(folder: Path, _rng: random.Random) -> None:
        content = (folder / name).read_bytes()
        half = len(content) // 2
        (folder / name).write_bytes(content[half:] + content[:half])

    return Mutation(f"{name}: its halves swapped", apply)


def _of_another_size(name: str) -> Mutation:
    def apply(folder: Path, rng: random.Random) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(rng.choice((content + content, content[:-4], content[: len(content) // 2])))

    return Mutation(f"{name}: of another size", apply)


def _numbers_changed(name: str) -> Mutation:
    def apply(folder: Path, rng: random.Random) -> None:
        content = bytearray((folder / name).read_bytes())
        place = 4 * rng.randrange(len(content) // 4)
        content[place : place + 4] = rng.choice((b"\xca\xf2\x49\x71", b"\0\0\xc0\x7f", rng.randbytes(4)))
        (folder / name).write_bytes(content)

    return Mutation(f"{name}: one number", apply)


def _package_mutations() -> list[Mutation]:
    places = place_mutations()[:8]
    parts = (PACKAGE, f"{PACKAGE}/Data", _CORE_ML, f"{_CORE_ML}/weights")
    return [inside(part, mutation) for part in parts for mutation in places]


def export_mutations(format_: str) -> list[Mutation]:
    """Changes to the folder of an export in one of `FILES`."""
    found = [
        inside(name, mutation) for name in FILES[format_] for mutation in byte_mutations() * 2 + place_mutations()
    ]
    if format_ in ("torchscript", "pt2"):
        found += [inside(FILES[format_][0], mutation) for mutation in zip_mutations() * 3]
    if format_.startswith("onnx"):
        found += _onnx_mutations(side=format_ != "onnx") * 2
    if format_ == "openvino":
        found += [*_text_mutations(f"{STEM}.xml"), Mutation("XML entity bomb", _entity_bomb)]
    if format_ == "coreml":
        found += _package_mutations() + _text_mutations(f"{PACKAGE}/Manifest.json")[:9]
    if len(FILES[format_]) > 1:
        side = FILES[format_][0] if format_ == "coreml" else FILES[format_][1]
        found += [_halves_swapped(side), _of_another_size(side), *[_numbers_changed(side)] * 8]
    return found
