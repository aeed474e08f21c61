"""What `fastvit check` finds in a data set: what cannot be read, what is there twice, what is odd."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastvit_cli.data.decoding import UPRIGHT
from fastvit_cli.data.deep_images import added_up, deep_words
from fastvit_cli.data.duplicates import find_duplicates
from fastvit_cli.data.image_facts import Facts, SplitFacts
from fastvit_cli.data.images import Images
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.data.perceptual_hash import NEAR, differing_bits, mirrored
from fastvit_cli.data.samples import Unreadable, printable_name
from fastvit_cli.data.sources import with_training_classes
from fastvit_cli.errors import FastViTError
from fastvit_cli.names import printable

TRAIN = "train"
SAME_FILE, ALIKE, MIRRORED = "same file", "alike", "mirrored"
ONE_COLOR, TINY, LONG = "one colour", "tiny", "long"
_TINY = 32  # px, the smallest input of a network
_LONG = 4  # times as long as wide: a centre crop sees less than a quarter


@dataclass(frozen=True)
class CheckedSplit:
    """What was found in one split.

    Attributes:
        classes: that have images.
        deep: images of more than 8 bits, by what they were.
        passed_over: other files, by `passed_over.kind_of`.
        orientations: images that are not upright, by EXIF's number for how they lie.
        smallest_size, median_size, largest_size: width and height in pixels, by area, as the file has them.
        leaked: images that are in the training split too; 0 of that split itself.
    """

    where: str
    classes: int
    images: int
    smallest_class: int
    largest_class: int
    unreadable: tuple[Unreadable, ...]
    deep: dict[str, int]
    passed_over: dict[str, int]
    split: str
    orientations: dict[str, int]
    smallest_size: tuple[int, int] | None
    median_size: tuple[int, int] | None
    largest_size: tuple[int, int] | None
    leaked: int


@dataclass(frozen=True)
class ClassCount:
    """A class and its images in each split, in the order of the splits."""

    name: str
    images: tuple[int, ...]


@dataclass(frozen=True)
class FoundImage:
    """An image, by its place in its split.

    Attributes:
        what: of a duplicate how it is like the first of its group, empty for that; of an odd image what is odd.
    """

    split: str
    index: int
    name: str
    class_name: str
    width: int
    height: int
    what: str


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are the same.

    Attributes:
        leak: some in the training split, some in another.
        conflict: they are of several classes.
    """

    leak: bool
    conflict: bool
    images: tuple[FoundImage, ...]


@dataclass(frozen=True)
class DataCheck:
    """Result of `fastvit check` and of `--check-data`.

    Attributes:
        notes: what else is to be said of the splits.
        passed: every image can be read, and training would take the classes of the splits.
        leaks, conflicts: how many of the duplicates are such.
        odd: of one colour, tiny, or far longer than wide.
        training_error: what training would refuse.
    """

    data: str
    splits: tuple[CheckedSplit, ...]
    notes: tuple[str, ...]
    passed: bool
    class_counts: tuple[ClassCount, ...]
    duplicates: tuple[DuplicateGroup, ...]
    leaks: int
    conflicts: int
    odd: tuple[FoundImage, ...]
    training_error: str | None


@dataclass(frozen=True, eq=False)
class NotedSplit:
    """A split, and what was noted of each of its images."""

    split: str
    images: Images
    noted: SplitFacts

    def found(self, index: int, what: str) -> FoundImage:
        row, images = self.noted.facts[index], self.images
        class_name = printable(images.class_names[int(images.labels[index])])
        size = (int(row["width"]), int(row["height"]))
        return FoundImage(self.split, index, printable_name(images, index), class_name, *size, what)


def check_data(data: str, splits: Sequence[NotedSplit], notes: Sequence[str] = ()) -> DataCheck:
    """What was noted of the splits, judged.

    Args:
        notes: what is to be said beside.
    """
    groups, all_compared = _duplicates(splits)
    error, lacking = _training_would_say(splits)
    checked = [_checked(one, _leaked(groups, one.split)) for one in splits]
    said = [*notes, *lacking, *_notes(checked)]
    if not all_compared:
        said.append("Thousands of images look so alike that not all of them were compared with each other.")
    return DataCheck(
        data,
        tuple(checked),
        tuple(said),
        passed=error is None and not any(split.unreadable for split in checked),
        class_counts=_class_counts(splits),
        duplicates=groups,
        leaks=sum(group.leak for group in groups),
        conflicts=sum(group.conflict for group in groups),
        odd=tuple(odd for one in splits for odd in _odd(one)),
        training_error=error,
    )


def _training_would_say(splits: Sequence[NotedSplit]) -> tuple[str | None, tuple[str, ...]]:
    """The error and the notes that training would give of the classes."""
    by_name = {one.split: one.images for one in splits}
    if TRAIN not in by_name or "val" not in by_name:
        return None, ()
    try:
        return None, with_training_classes(by_name["val"], by_name[TRAIN])[1]
    except FastViTError as error:
        return error.message, ()


def _checked(one: NotedSplit, leaked: int) -> CheckedSplit:
    facts = one.noted.facts[one.noted.facts["readable"]]
    counts = [count for count in np.bincount(one.images.labels).tolist() if count]
    smallest, median, largest = _sizes(facts)
    lying = facts["orientation"][facts["orientation"] != UPRIGHT]
    values, numbers = np.unique(lying, return_counts=True)
    return CheckedSplit(
        where=one.images.where,
        classes=len(counts),
        images=len(one.images),
        smallest_class=min(counts),
        largest_class=max(counts),
        unreadable=one.noted.unreadable,
        deep=one.noted.deep,
        passed_over=dict(one.images.passed_over),
        split=one.split,
        orientations=dict(zip(map(str, values.tolist()), numbers.tolist(), strict=True)),
        smallest_size=smallest,
        median_size=median,
        largest_size=largest,
        leaked=leaked,
    )


def _sizes(facts: Facts) -> list[tuple[int, int] | None]:
    """The smallest, median and largest by area; None of no images."""
    if not len(facts):
        return [None] * 3
    by_area = np.argsort(facts["width"].astype(np.int64) * facts["height"], kind="stable")
    rows = facts[by_area[[0, (len(by_area) - 1) // 2, -1]]]
    return list(zip(rows["width"].tolist(), rows["height"].tolist(), strict=True))


def _notes(splits: Sequence[CheckedSplit]) -> Iterator[str]:
    """On what is not as it seems, in all splits together."""
    lying = added_up(kind for split in splits for kind in split.orientations.items())
    if lying:
        kinds = ", ".join(f"{count:,} of orientation {number}" for number, count in lying.items())
        yield (
            f"Images that are not upright, by EXIF: {sum(lying.values()):,} ({kinds}). "
            "Training reads them as they lie unless it gets --exif."
        )
    deep = added_up(kind for split in splits for kind in split.deep.items())
    if deep:
        yield f"{deep_words(deep)}."
    passed_over = passed_over_words(*(split.passed_over for split in splits))
    if passed_over:
        yield passed_over


def _class_counts(splits: Sequence[NotedSplit]) -> tuple[ClassCount, ...]:
    """In the order of the classes of the first split, then those that only others have; none without any images."""
    counted = []
    for one in splits:
        names = one.images.class_names
        numbers = np.bincount(one.images.labels, minlength=len(names)).tolist()
        counted.append(dict(zip(names, numbers, strict=True)))
    all_names = dict.fromkeys(name for counts in counted for name in counts)
    rows = (ClassCount(printable(name), tuple(counts.get(name, 0) for counts in counted)) for name in all_names)
    return tuple(row for row in rows if any(row.images))


def _odd(one: NotedSplit) -> Iterator[FoundImage]:
    """Where most images are tiny, as digits are, that is nothing odd; the sizes tell it."""
    facts = one.noted.facts
    short, long = np.minimum(facts["width"], facts["height"]), np.maximum(facts["width"], facts["height"])
    tiny = (short < _TINY) & facts["readable"]
    if 2 * tiny.sum() > len(facts):
        tiny[:] = False
    kinds = {ONE_COLOR: facts["one_color"], TINY: tiny, LONG: long >= _LONG * short}
    for index in np.flatnonzero(facts["readable"] & np.logical_or.reduce(list(kinds.values()))).tolist():
        yield one.found(index, ", ".join(kind for kind, holds in kinds.items() if holds[index]))


def _duplicates(splits: Sequence[NotedSplit]) -> tuple[tuple[DuplicateGroup, ...], bool]:
    """Leaks first, then conflicts; and whether all images were compared."""
    readable = [np.flatnonzero(one.noted.facts["readable"]) for one in splits]
    owners = np.repeat(np.arange(len(splits)), list(map(len, readable)))
    places = np.concatenate(readable)
    facts = np.concatenate([one.noted.facts[index] for one, index in zip(splits, readable, strict=True)])
    found = find_duplicates(facts["content"], facts["look"], ~facts["one_color"])
    groups = []
    for indices in found.groups:
        likeness = _likeness(facts[indices])
        members = zip(owners[indices].tolist(), places[indices].tolist(), likeness, strict=True)
        groups.append(_group(tuple(splits[owner].found(place, what) for owner, place, what in members)))
    return tuple(sorted(groups, key=lambda group: (not group.leak, not group.conflict))), found.all_compared


def _group(images: tuple[FoundImage, ...]) -> DuplicateGroup:
    splits = {image.split for image in images}
    conflict = len({image.class_name for image in images}) > 1
    return DuplicateGroup(leak=TRAIN in splits and len(splits) > 1, conflict=conflict, images=images)


def _likeness(facts: Facts) -> list[str]:
    """How each image of a group is like the first; where both are near, the nearer."""
    first, looks = facts[0], facts["look"]
    straight, turned = (differing_bits(hash, looks) for hash in (first["look"], mirrored(first["look"])))
    words = np.where((turned < straight) & (turned <= NEAR), MIRRORED, ALIKE)
    return ["", *np.where(facts["content"] == first["content"], SAME_FILE, words).tolist()[1:]]


def _leaked(groups: Sequence[DuplicateGroup], split: str) -> int:
    if split == TRAIN:
        return 0
    return sum(image.split == split for group in groups if group.leak for image in group.images)
