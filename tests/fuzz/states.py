"""Changes to a run folder: what its state remembers, and the files beside it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from fuzz.archives import zip_mutations
from fuzz.mutations import CRC, OWN, Mutation, byte_mutations, inside, place_mutations
from fuzz.odd_values import odd_json_value
from fuzz.tensors import TENSOR_EDITS, last_bit, swapped

STATE, BEST, LAST, CONFIG = "state.pt", "best.safetensors", "last.safetensors", "config.yaml"
Edit = Callable[[dict[str, Any], random.Random], None]


def _network(name: str, kind: str) -> Edit:
    def edit(state: dict[str, Any], rng: random.Random) -> None:
        if isinstance(state[name], dict):
            TENSOR_EDITS[kind](state[name], rng)

    return edit


def _moments(state: dict[str, Any], rng: random.Random) -> None:
    """What the optimizer remembers of one weight."""
    memory = rng.choice(list(state["optimizer"]["state"].values()))
    rng.choice((last_bit, swapped, TENSOR_EDITS["a tensor scaled"], TENSOR_EDITS["a number of 1e30"]))(memory, rng)


def _group(state: dict[str, Any], rng: random.Random) -> None:
    group = rng.choice(state["optimizer"]["param_groups"])
    name = rng.choice([name for name in group if name != "params"])
    value = group[name]
    group[name] = value * 2 + 1e-3 if type(value) is float else odd_json_value(rng)


def _left_out(state: dict[str, Any], rng: random.Random) -> None:
    del state[rng.choice(list(state))]


def _odd(state: dict[str, Any], rng: random.Random) -> None:
    """One value anywhere in it, at most four levels down, of another kind."""
    where: Any = state
    for _ in range(rng.randint(0, 3)):
        inner = where[rng.choice(list(where))] if isinstance(where, dict) and where else None
        if not (isinstance(inner, dict) and inner):
            break
        where = inner
    where[rng.choice(list(where))] = odd_json_value(rng)


def _place_in_run(state: dict[str, Any], rng: random.Random) -> None:
    name = rng.choice(("epoch", "step"))
    state[name] = rng.choice((0, 1, 2, 3, -1, 10**9))


def _sums(state: dict[str, Any], rng: random.Random) -> None:
    state["sums"] = rng.choice((state["sums"] + 1, state["sums"][:1], state["sums"] * float("nan"), torch.zeros(3)))


def _history(state: dict[str, Any], rng: random.Random) -> None:
    rows = state["history"]
    row = rng.choice(rows)
    name = rng.choice(("val_top1", "val_loss", "is_best", "epoch", "lr", "train_loss"))
    what = rng.randrange(4)
    if what == 0:
        row[name] = odd_json_value(rng)
    elif what == 1:
        row["val_top1"], row["is_best"] = 99.0, True
    elif what == 2:
        rows.append(dict(row))
    else:
        rows.clear()


def _trained_on(state: dict[str, Any], rng: random.Random) -> None:
    saved = state["trained_on"]
    names = list(saved["class_names"])
    saved[rng.choice(("class_names", "train_images"))] = rng.choice((names[::-1], names[:-1], 7, 23, None))


def _other_run(state: dict[str, Any], rng: random.Random) -> None:
    """As another run of this network would have left it."""
    for name, tensor in state["network"].items():
        if tensor.is_floating_point():
            state["network"][name] = tensor + 0.01 * rng.random()


def _not_a_mapping(path: Path, rng: random.Random) -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    torch.save(rng.choice(([1, 2], torch.zeros(3), "state", None, {}, {"a": 1}, deep, {1: 2})), path)


_STATE_EDITS: dict[str, Edit] = {
    **{f"network: {kind}": _network("network", kind) for kind in TENSOR_EDITS},
    **{f"moving average: {kind}": _network("ema", kind) for kind in ("last bit of a number", "two tensors swapped")},
    "optimizer's memory": _moments,
    "optimizer's options": _group,
    "a part left out": _left_out,
    "an odd value": _odd,
    "epoch or step": _place_in_run,
    "sums": _sums,
    "history": _history,
    "the data it was trained on": _trained_on,
    "of another run": _other_run,
}


def _rewritten(edit: Edit) -> Callable[[Path, random.Random], None]:
    def apply(path: Path, rng: random.Random) -> None:
        state = torch.load(path, weights_only=False)
        edit(state, rng)
        torch.save(state, path)

    return apply


def _copied(source: str, target: str) -> Callable[[Path, random.Random], None]:
    return lambda folder, _rng: (folder / target).write_bytes((folder / source).read_bytes()) and None


def _emptied(folder: Path, _rng: random.Random) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


_BEST_NOT_THERE = frozenset(f"{BEST}: {what}" for what in ("missing", "a link to nothing", "a link to itself"))


def state_mutations() -> list[Mutation]:
    """Changes to a whole run folder; those of the state are the larger part."""
    state = byte_mutations() * 2 + zip_mutations() * 3 + place_mutations()
    rewritten = [
        Mutation(f"rewritten: {name}", _rewritten(edit), frozenset((CRC,))) for name, edit in _STATE_EDITS.items()
    ]
    state += rewritten * 4 + [Mutation("rewritten: no mapping", _not_a_mapping)]
    weights = byte_mutations()[:16]
    found = [inside(STATE, mutation) for mutation in state]
    found += [inside(name, mutation) for name in (LAST, BEST) for mutation in (*weights, *place_mutations())]
    # Best weights that are not there carry no checksum: the run says that they are lost, and goes on without them.
    found = [replace(one, defeats=frozenset((OWN, CRC))) if one.name in _BEST_NOT_THERE else one for one in found]
    found += [
        inside(name, mutation) for name in ("metrics.csv", "log.txt", CONFIG) for mutation in place_mutations()[:8]
    ]
    found += [
        Mutation(f"{source} in place of {target}", _copied(source, target), defeats)
        for source, target, defeats in (
            (BEST, LAST, frozenset[str]()),
            (LAST, BEST, frozenset((OWN, CRC))),  # a whole file of the same network
            (STATE, LAST, frozenset[str]()),
            (LAST, STATE, frozenset[str]()),
            (CONFIG, STATE, frozenset[str]()),
        )
        for _ in range(3)
    ]
    return [*found, Mutation("an empty folder", _emptied)]
