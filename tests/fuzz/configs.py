"""Changes to a run's config.yaml, line by line and as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from fuzz.mutations import EDITS, Mutation, edit_file, place_mutations

_SCALARS = (
    *("", "~", "true", "no", "0", "1", "-1", "3", "64", "0.5", "-0.0", ".nan", ".inf", "-.inf", "1e400", "1e-400"),
    *("99999999", "9" * 400, "9" * 5000, "0x10", "0o17", "017", "1:30", "1_000", "2024-01-01", "5e-4", "1e3"),
    *("!!str 1", "!!int '3'", "!!float 1", "!!binary aGk=", "!!set {a}", "!!timestamp 2024-01-01", "!foo 1"),
    *("!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system", "!!python/tuple [1]"),
    *(
        "[]",
        "{}",
        "[1, 2]",
        "{a: 1}",
        "''",
        "' '",
        "x",
        "auto",
        "none",
        "latest",
        "/dev/null",
        "~nosuch/x",
        "../../x",
    ),
    *(
        '"\\0"',
        '"\\e[31mred"',
        '"a\\nb"',
        "\u202eabc",
        "größe",
        "😀",
        "x" * 10_000,
        "&a [1]",
        "*a",
        "|\n  text",
        "- 1",
    ),
    *(
        "@x",
        "`x`",
        "%x",
        "'open",
        '"open',
        "[1, 2",
        "{a: ",
        "t8",
        "sa12",
        "sgd",
        "adamw",
        "finetune",
        "demo",
        "nosuch",
    ),
)
_PLAUSIBLE = {
    "lr": ("0.002", "0.0", "1e-3"),
    "seed": ("1", "7", "4294967295"),
    "batch_size": ("6", "8", "24"),
    "img_size": ("64", "33", "48"),
    "variant": ("t12", "fastvit_t8", "T8"),
    "opt": ("sgd", "lion"),
    "ema_decay": ("0.5", "0.0"),
    "label_smoothing": ("0.0", "0.2"),
    "weight_decay": ("0.0", "0.1"),
    "min_lr": ("0.0", "1e-4"),
    "warmup_epochs": ("0", "1.0"),
    "hflip": ("0.0", "1.0"),
    "mixup": ("0.2", "1.0"),
    "random_erasing": ("0.25",),
    "drop_path": ("0.2",),
    "amp": ("true",),
    "bce": ("true",),
    "class_weights": ("balanced",),
    "crop_pct": ("0.5", "0.9"),
    "clip_grad": ("1.0", "0.1"),
    "freeze_backbone": ("true",),
    "recipe": ("scratch", "finetune", "null"),
    "total_batch_size": ("24",),
    "transforms": ("torchvision", "pil"),
    "workers": ("1", "100000", "-1"),
    "device": ("cpu", "cuda", "mps"),
    "epochs": ("1", "5", "0", "100"),
    "exif": ("true",),
}


def _bomb(text: str) -> str:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    return "\n".join(levels) + "\n" + text


_WHOLE: dict[str, Callable[[str], str | bytes]] = {
    "nothing": lambda _text: "",
    "only comments": lambda _text: "# nothing\n",
    "a list": lambda text: "".join(f"- {line}\n" for line in text.splitlines()),
    "a scalar": lambda _text: "7\n",
    "two documents": lambda text: text + "---\n" + text,
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "Latin-1": lambda text: (text + "# größe\n").encode("latin-1"),
    "NUL bytes": lambda text: text + "\0",
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "tabs": lambda text: text.replace(": ", ":\t"),
    "indented": lambda text: "".join(f"  {line}\n" for line in text.splitlines()),
    "deep brackets": lambda text: text + "lr: " + "[" * 50_000,
    "deep braces": lambda text: text + "lr: " + "{a: " * 3_000 + "1" + "}" * 3_000,
    "deep lists": lambda text: text + "lr: " + "- " * 20_000 + "1",
    "an alias bomb": _bomb,
    "an alias": lambda text: (
        "seed: &a 0\n" + text.replace("seed: 0\n", "").replace("cooldown_epochs: 0", "cooldown_epochs: *a")
    ),
    "a list within itself": lambda text: text + "lr: &a [*a]\n",
    "a merge key": lambda text: text + "<<: {lr: 0.5, seed: 9}\n",
    "a key that is a list": lambda text: text + "? [1, 2]\n: 3\n",
    "a key that is no text": lambda text: text + "1: 2\ntrue: 3\nnull: 4\n",
    "a long key": lambda text: text + "k" * 100_000 + ": 1\n",
    "10 MB of lines": lambda text: text + "# comment of many letters\n" * 400_000,
    "100,000 options": lambda text: text + "".join(f"x{number}: 1\n" for number in range(100_000)),
    "an object": lambda text: text + "x: !!python/object/apply:os.system ['touch canary']\n",
    "an object as the document": lambda _text: "!!python/object/apply:os.system ['touch canary']\n",
    "a new object": lambda _text: "!!python/object/new:os.system ['touch canary']\n",
    "a module": lambda _text: "!!python/module:antigravity\n",
    "names with dashes": lambda text: text.replace("_", "-"),
    "names in capitals": lambda text: text.upper(),
    "JSON": lambda text: (
        "{" + ", ".join(f'"{line.split(": ")[0]}": {line.split(": ", 1)[1]}' for line in text.splitlines()) + "}"
    ),
}


def _lines(path: Path, edit: Callable[[list[str], random.Random], None]) -> Callable[[random.Random], None]:
    def apply(rng: random.Random) -> None:
        lines = path.read_text().splitlines()
        edit(lines, rng)
        path.write_text("\n".join(lines) + "\n")

    return apply


def _left_out(lines: list[str], rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        del lines[rng.randrange(len(lines))]


def _odd_value(lines: list[str], rng: random.Random) -> None:
    place = rng.randrange(len(lines))
    lines[place] = f"{lines[place].split(':')[0]}: {rng.choice(_SCALARS)}"


def _plausible_value(lines: list[str], rng: random.Random) -> None:
    name = rng.choice(sorted(_PLAUSIBLE))
    value = rng.choice(_PLAUSIBLE[name])
    lines[:] = [f"{name}: {value}" if line.startswith(f"{name}:") else line for line in lines]


def _twice(lines: list[str], rng: random.Random) -> None:
    line = rng.choice(lines)
    lines.append(line if rng.random() < 0.3 else f"{line.split(':')[0]}: {rng.choice(('0.25', '1', 'x'))}")


def _misspelt(lines: list[str], rng: random.Random) -> None:
    place = rng.randrange(len(lines))
    name, rest = lines[place].split(":", 1)
    odd = (name[:-1], name + "s", name.upper(), f"'{name}", f"{name} ", "\u202e" + name, name.replace("e", "е"))
    lines[place] = f"{rng.choice(odd)}:{rest}"


def _other_order(lines: list[str], rng: random.Random) -> None:
    rng.shuffle(lines)


_LINE_EDITS: dict[str, Callable[[list[str], random.Random], None]] = {
    "lines left out": _left_out,
    "an odd value": _odd_value,
    "another value": _plausible_value,
    "a line twice": _twice,
    "a name misspelt": _misspelt,
    "lines in another order": _other_order,
}
_WEIGHT = {"an odd value": 12, "another value": 12, "lines left out": 6, "a line twice": 3, "a name misspelt": 3}


def config_mutations() -> list[Mutation]:
    """Changes to one YAML file; the frequent ones come several times."""

    def of_lines(edit: Callable[[list[str], random.Random], None]) -> Callable[[Path, random.Random], None]:
        return lambda path, rng: _lines(path, edit)(rng)

    def of_all(edit: Callable[[str], str | bytes]) -> Callable[[Path, random.Random], None]:
        def apply(path: Path, _rng: random.Random) -> None:
            content = edit(path.read_text())
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

        return apply

    found = [
        Mutation(f"YAML: {name}", of_lines(edit))
        for name, edit in _LINE_EDITS.items()
        for _ in range(_WEIGHT.get(name, 1))
    ]
    found += [Mutation(f"YAML: {name}", of_all(edit)) for name, edit in _WHOLE.items()]
    some = ("a bit flipped", "a byte replaced", "random bytes", "bytes left out", "cut off")
    found += [
        Mutation(f"{name}, anywhere", lambda path, rng, e=EDITS[name]: edit_file(path, rng, e)) for name in some
    ]
    return found + place_mutations()
