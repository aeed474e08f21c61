"""Which cases there are: their numbers mean the same whenever the seed is the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from fuzz.archives import torch_mutations, zip_mutations
from fuzz.bases import CHECKPOINT, COMMAND, CONFIG, EXPORT, KINDS, LIBRARY, PICKLE, PROCESS, RESUMED, STATE
from fuzz.configs import config_mutations
from fuzz.exports import FILES, export_mutations
from fuzz.headers import safetensors_mutations
from fuzz.mutations import Mutation, byte_mutations, inside, place_mutations
from fuzz.poison import POISONS
from fuzz.states import state_mutations

COUNTS = {CHECKPOINT: 3000, STATE: 500, CONFIG: 150, RESUMED: 150, EXPORT: 500, PICKLE: 150}
QUICK = {CHECKPOINT: 136, STATE: 8, CONFIG: 10, RESUMED: 4, EXPORT: 28, PICKLE: 14}
QUICK_FORMATS = ("onnx", "torchscript")

_EVERY_COMMAND = 25  # of the files that the library opens, by a command instead
_EVERY_PROCESS = 150  # of all, by a command in a process of its own

_CHECKPOINTS = {
    "ours": 8,
    "ours, fused": 2,
    "ours, all fused": 2,
    "bare safetensors": 2,
    "torch, state_dict": 4,
    "torch, reference": 2,
    "torch, float16": 1,
    "torch, no checksums": 1,
    "old torch": 2,
}


@dataclass(frozen=True)
class Case:
    """One changed file.

    Attributes:
        way: how it is opened, one of `bases.LIBRARY`, `COMMAND`, `PROCESS`.
    """

    number: int
    kind: str
    base: str
    mutation: str
    way: str


def mutations_of(kind: str, base: str) -> list[Mutation]:
    """What a case of a base may do to it, the frequent ones several times."""
    if kind == CHECKPOINT:
        return _checkpoint_mutations(base)
    if kind == STATE:
        return state_mutations()
    if kind == CONFIG:
        return config_mutations()
    if kind == RESUMED:
        return [inside("config.yaml", mutation) for mutation in config_mutations()]
    return export_mutations(base)


def _checkpoint_mutations(base: str) -> list[Mutation]:
    found = byte_mutations() + place_mutations()
    if base.startswith("torch"):
        return found + zip_mutations() * 3 + torch_mutations() * 2
    if base == "old torch":
        return found + torch_mutations()
    whole = base != "bare safetensors"
    return found + safetensors_mutations(with_metadata=whole) * 2


def plan(seed: int) -> list[Case]:
    """All cases, the kinds mixed; the place of a case in the list is its number."""
    rng = random.Random(seed)
    found: list[Callable[[int], Case]] = []
    for kind, count in COUNTS.items():
        found += _of_kind(kind, count, rng)
    rng.shuffle(found)
    return [make(number) for number, make in enumerate(found)]


def _of_kind(kind: str, count: int, rng: random.Random) -> list[Callable[[int], Case]]:
    names = _bases_of(kind)
    decks: dict[str, list[str]] = {}
    found = []
    for place in range(count):
        base = names[place % len(names)]
        if not decks.get(base):  # every mutation once before any comes again
            decks[base] = [m.name for m in mutations_of(kind, base)] if kind != PICKLE else list(POISONS)
            rng.shuffle(decks[base])
        found.append(_maker(kind, base, decks[base].pop()))
    return found


def _bases_of(kind: str) -> list[str]:
    if kind == CHECKPOINT:
        return [name for name, weight in _CHECKPOINTS.items() for _ in range(weight)]
    if kind == EXPORT:
        return list(FILES)
    return {STATE: ["run"], RESUMED: ["run"], CONFIG: ["config.yaml"], PICKLE: ["code"]}[kind]


def _maker(kind: str, base: str, mutation: str) -> Callable[[int], Case]:
    def make(number: int) -> Case:
        way = LIBRARY if kind in (CHECKPOINT, EXPORT) and number % _EVERY_COMMAND else COMMAND
        if kind != PICKLE and number % _EVERY_PROCESS == 7:
            way = PROCESS
        return Case(number, kind, base, mutation, way)

    return make


def quick(cases: list[Case], count: int) -> list[Case]:
    """The first cases of each kind that need few bases and no process of their own, `count` in all."""
    left = {kind: round(QUICK[kind] * count / sum(QUICK.values())) for kind in KINDS}
    found = []
    for case in cases:
        slow = case.way == PROCESS or (case.kind == CHECKPOINT and case.way == COMMAND)
        needs = slow or (case.kind == EXPORT and case.base not in QUICK_FORMATS)
        if left[case.kind] and not needs:
            left[case.kind] -= 1
            found.append(case)
    return found
