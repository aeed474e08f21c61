"""Which images are the same, by the hashes of their files and of what they look like."""

from typing import Any, NamedTuple

import numpy as np

from fastvit_cli.data.perceptual_hash import NEAR, Hashes, differing_bits, mirrored

_MOST_COMPARED = 1000  # neighbours, where thousands look so alike that they share a part of their hash

Indices = np.ndarray[Any, np.dtype[np.int64]]


class Duplicates(NamedTuple):
    """Attributes:
    groups: indices of images that are the same, ascending; the groups by their first.
    all_compared: no part of the hash is shared by more images than are compared with each other.
    """

    groups: list[Indices]
    all_compared: bool


def find_duplicates(contents: "np.ndarray[Any, np.dtype[np.uint64]]", looks: Hashes, comparable: Any) -> Duplicates:
    """Group images by equal files, and those that look alike as they are or mirrored.

    What is like a second image is in the group of all that the second is like.

    Args:
        contents: (N,) hashes of the files.
        looks: (N, 4) perceptual hashes.
        comparable: (N,) bool, whether `looks` says anything.
    """
    forest = _Forest(len(contents))
    _, first, inverse = np.unique(contents, return_index=True, return_inverse=True)
    forest.join(np.arange(len(contents)), first[inverse])
    shown = np.flatnonzero(comparable & (forest.root == np.arange(len(contents))))
    alike, all_compared = _alike(looks[shown])
    forest.join(shown, shown[alike])
    order = np.argsort(forest.root, kind="stable")
    starts = np.flatnonzero(np.diff(forest.root[order], prepend=-1))
    return Duplicates([group for group in np.split(order, starts[1:]) if len(group) > 1], all_compared)


def _alike(looks: Hashes) -> tuple[Indices, bool]:
    """The first image that each one looks like, directly or by way of others, and whether all were compared.

    Two hashes that differ in at most 15 bits agree in one of their 16 parts of 16 bits at least, and so do almost all
    that differ in up to 24, as the bits that change first lie in few parts. So only images that agree in a part are
    compared: those that sorting by it brings together. Mirror images take part as hashes of their own.
    """
    count = len(looks)
    both = np.concatenate((looks, mirrored(looks)))
    forest = _Forest(count)
    all_compared = True
    alphabetical = np.lexsort(both.T)  # those that agree in more than the part come to lie side by side
    for part in both.view(np.uint16).T:
        order = alphabetical[np.argsort(part[alphabetical], kind="stable")]
        ordered = part[order]
        places = np.arange(len(order))
        for distance in range(1, _MOST_COMPARED + 2):
            places = places[: np.searchsorted(places, len(order) - distance)]
            places = places[ordered[places] == ordered[places + distance]]
            if not len(places):
                break
            if distance > _MOST_COMPARED:
                all_compared = False
                break
            left, right = order[places], order[places + distance]
            apart = forest.root[left % count] != forest.root[right % count]
            apart &= (left < count) | (right < count)  # two mirror images say what the images have said
            left, right = left[apart], right[apart]
            near = differing_bits(both[left], both[right]) <= NEAR
            forest.join(left[near] % count, right[near] % count)
    return forest.root, all_compared


class _Forest:
    """Sets of indices that grow together.

    Attributes:
        root: (N,) the smallest index of the set that each is in.
    """

    def __init__(self, size: int) -> None:
        self.root: Indices = np.arange(size)

    def join(self, left: Indices, right: Indices) -> None:
        """Unite the sets of each pair."""
        apart = self.root[left] != self.root[right]
        if not apart.any():
            return
        for one, other in zip(left[apart].tolist(), right[apart].tolist(), strict=True):
            low, high = sorted((self._find(one), self._find(other)))
            self.root[high] = low
        while (self.root != (above := self.root[self.root])).any():
            self.root = above

    def _find(self, index: int) -> int:
        while (above := int(self.root[index])) != index:
            index = above
        return index
