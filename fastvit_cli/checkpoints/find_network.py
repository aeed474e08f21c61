"""Finding the network in a file: in whatever dictionaries its trainer put around it, below any prefix of names."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fastvit_cli.checkpoints.layouts import BLOCK_OF_A_FASTVIT, STEM_OF_A_FASTVIT, TOP_MODULES, not_a_fastvit
from fastvit_cli.checkpoints.stored import StateDicts, StoredTensor
from fastvit_cli.errors import FastViTError, closest, excerpt

# Wrappers are not listed: whatever stands before the name of the stem is removed. Removing one of these is ordinary,
# and not reported to the user.
_UNREPORTED_WRAPPERS = frozenset(("state_dict", "model", "model_state_dict", "module", "_orig_mod"))
_EMA = re.compile(r"(?<![a-z])ema(?![a-z])", re.IGNORECASE)
_COUNTERS = frozenset(("total_ops", "total_params"))  # that thop leaves in a network
_MOST_NETWORKS = 16


@dataclass(frozen=True)
class _Place:
    """A network in a file: the keys that lead to a dictionary, the prefix of its names there, and what it holds."""

    path: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, StoredTensor]

    @property
    def name(self) -> str:
        return ".".join((*self.path, *self.prefix.split("."))).strip(".")

    @property
    def is_averaged(self) -> bool:
        return _EMA.search(self.name) is not None

    @property
    def quoted_name(self) -> str:
        return f"'{excerpt(self.name)}'" if self.name else "the one at the top level"


@dataclass(frozen=True)
class FoundNetwork:
    """The tensors of one network, by their names in it, and what was peeled, chosen or passed over to get there."""

    tensors: Mapping[str, StoredTensor]
    notes: tuple[str, ...]


def find_network(content: StateDicts, where: str, prefer_ema: bool = True, key: str | None = None) -> FoundNetwork:
    """The one network in a file.

    Args:
        where: how to name the file in errors.
        prefer_ema: which to take where one is a moving average and the other is not.
        key: the name of the one to take; None where there must be no doubt.

    Raises:
        FastViTError: no FastViT in it, none of that name, or several that might be meant.
    """
    places = _places(content, where)
    if not places:
        raise not_a_fastvit(max(content.values(), key=len), where)
    chosen, why = _choose(places, where, prefer_ema, key)
    notes = []
    if why:
        others = ", ".join(place.quoted_name for place in places if place is not chosen)
        notes.append(f"The file holds {len(places)} networks: {chosen.quoted_name} is taken ({why}), not {others}.")
    elif not _UNREPORTED_WRAPPERS.issuperset(chosen.name.split(".")) and chosen.name:
        notes.append(f"The network was found at {chosen.quoted_name} in the file.")
    return FoundNetwork(chosen.tensors, (*notes, *_passed_over(content, places, chosen)))


def _places(content: StateDicts, where: str) -> list[_Place]:
    """All networks, each once: two names of the same numbers are one.

    Raises:
        FastViTError: more than any trainer saves.
    """
    prefixes = {
        (path, prefix)
        for path, tensors in content.items()
        for prefix in _ends(tensors, STEM_OF_A_FASTVIT) & _ends(tensors, BLOCK_OF_A_FASTVIT)
    }
    if len(prefixes) > _MOST_NETWORKS:
        raise FastViTError(
            f"{where} holds {len(prefixes)} networks.", "Save the one that you mean, and pass that file."
        )
    found: dict[frozenset[object], _Place] = {}
    for path, prefix in sorted(prefixes, key=lambda place: (len(place[0]), *place)):
        tensors = {
            name.removeprefix(prefix): stored
            for name, stored in content[path].items()
            if name.startswith(prefix) and _belongs(name.removeprefix(prefix))
        }
        same = frozenset((name, stored.identity) for name, stored in tensors.items())
        found.setdefault(same, _Place(path, prefix, tensors))
    return list(found.values())


def _ends(names: Mapping[str, object], pattern: re.Pattern[str]) -> set[str]:
    """What stands before the pattern in the names that hold it."""
    return {name[: match.start()] for name in names if (match := pattern.search(name))}


def _belongs(name: str) -> bool:
    first, *_, last = name.split(".")[0], name.rpartition(".")[2]
    return first in TOP_MODULES and last not in _COUNTERS


def _choose(places: list[_Place], where: str, prefer_ema: bool, key: str | None) -> tuple[_Place, str]:
    """The place that is meant and, where others are there too, why it is."""
    names = [place.name for place in places]
    said = ", ".join(place.quoted_name for place in places)
    if key is not None:
        if key not in names:
            raise FastViTError(
                f"{where} holds no network '{excerpt(key)}'; it holds {said}.",
                f"{closest(key[:80], names)}Pass --ckpt-key with one of these names, or leave it out.",
            )
        return places[names.index(key)], "--ckpt-key" if len(places) > 1 else ""
    if len(places) == 1:
        return places[0], ""
    averaged = [place for place in places if place.is_averaged]
    plain = [place for place in places if not place.is_averaged]
    wanted = averaged if prefer_ema and averaged else plain
    if len(wanted) != 1 or not averaged:
        raise FastViTError(
            f"{where} holds {len(places)} networks: {said}.",
            f"Name the one that you mean, such as --ckpt-key {excerpt(names[-1])}",
        )
    return wanted[0], "the averaged weights; --no-ema takes the others" if prefer_ema else "--no-ema"


def _passed_over(content: StateDicts, places: list[_Place], chosen: _Place) -> list[str]:
    """What the file holds beside its networks, in words: so many of each wrapper or module."""
    # Another name of a network's numbers is no loss either.
    known = {stored.identity for place in places for stored in place.tensors.values()}
    counters, others = 0, Counter[str]()
    for path, tensors in content.items():
        for name, stored in tensors.items():
            if name.rpartition(".")[2] in _COUNTERS:
                counters += 1
            elif stored.identity not in known:
                shared = len(chosen.path) if path[: len(chosen.path)] == chosen.path else 0
                others[(*path, name.partition(".")[0])[shared]] += 1
    notes = []
    if counters:
        notes.append(f"{counters} counters of thop (total_ops, total_params) in the file are left out.")
    if others:
        some = ", ".join(f"{count} of {excerpt(first, 40)}" for first, count in others.most_common(3))
        more = ", …" if len(others) > 3 else ""
        notes.append(f"{others.total()} tensors beside the network are passed over: {some}{more}.")
    return notes
