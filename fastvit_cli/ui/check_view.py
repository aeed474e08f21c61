"""What `fastvit check` found, for people to read; `--json` shows the same."""

import os
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from fastvit_cli.data.check import CheckedSplit, ClassCount, DataCheck, DuplicateGroup, FoundImage
from fastvit_cli.ui.tables import Row, Sheet, data_table, facts, terminal_table

_SHOWN_UNREADABLE = 20
_SHOWN_CLASSES = 20
_SHOWN_DUPLICATES = 6  # of each kind
_SHOWN_ODD = 8


def check_view(result: DataCheck) -> RenderableType:
    """The splits and their classes, then what is there twice, what is odd, and what cannot be read."""
    columns = ("split", "classes", "images", "smallest class", "largest", "unreadable")
    refused = [f"Training would refuse this: {result.training_error}"] if result.training_error else []
    return Group(
        data_table(columns, map(_split_row, result.splits), title=f"Data: {result.data}"),
        terminal_table(_classes_shown(result)),
        *_classes_left_out(result),
        facts(size_facts(result)),
        *_duplicates(result),
        *_odd(result),
        *_unreadable(result),
        *(Text(note, style="yellow", no_wrap=True, overflow="ignore") for note in result.notes),
        *(Text(words, style="red") for words in refused),
    )


def _split_row(split: CheckedSplit) -> tuple[str, ...]:
    counts = (split.classes, split.images, split.smallest_class, split.largest_class, len(split.unreadable))
    return (split.split, *(f"{count:,}" for count in counts))


def _unreadable(result: DataCheck) -> list[Text]:
    bad = [unreadable for split in result.splits for unreadable in split.unreadable]
    lines = [Text(f"{item.name}: {item.reason}", style="red", overflow="fold") for item in bad[:_SHOWN_UNREADABLE]]
    if len(bad) > _SHOWN_UNREADABLE:
        lines.append(Text(f"and {len(bad) - _SHOWN_UNREADABLE:,} more; --json lists all", style="dim"))
    return lines or [Text("Every image can be read.", style="green")]


def size_facts(result: DataCheck) -> list[tuple[str, str]]:
    """The sizes of each split that has readable images."""
    return [
        (
            f"sizes in {split.split}",
            f"{size_words(split.smallest_size)} to {size_words(split.largest_size)} px, "
            f"median {size_words(split.median_size)}",
        )
        for split in result.splits
        if split.median_size
    ]


def size_words(size: tuple[int, int] | None) -> str:
    """`640 × 480`, the width first."""
    return "–" if size is None else f"{size[0]:,} × {size[1]:,}"


def class_sheet(result: DataCheck, counts: Sequence[ClassCount]) -> Sheet:
    """A row a class, its images in each split, and a bar of those in all."""
    most = max(sum(row.images) for row in result.class_counts)
    rows = [Row((row.name, *(f"{count:,}" for count in row.images)), bar=sum(row.images) / most) for row in counts]
    return Sheet(("class", *(split.split for split in result.splits)), rows)


def _classes_shown(result: DataCheck) -> Sheet:
    """All of few classes; of many those with the most and the fewest images."""
    counts = result.class_counts
    if len(counts) > _SHOWN_CLASSES:
        ordered = sorted(counts, key=lambda row: -sum(row.images))
        counts = (*ordered[: _SHOWN_CLASSES // 2], *ordered[-_SHOWN_CLASSES // 2 :])
    return class_sheet(result, counts)


def _classes_left_out(result: DataCheck) -> list[Text]:
    left_out = len(result.class_counts) - _SHOWN_CLASSES
    words = f"{left_out:,} classes between the larger and the smaller are not shown; --json lists all"
    return [Text(words, style="dim")] if left_out > 0 else []


def duplicate_facts(result: DataCheck) -> list[tuple[str, str]]:
    """What the duplicates mean; empty without any."""
    rows = []
    for split in result.splits:
        if split.leaked:
            share = f"{split.leaked:,} of the {split.images:,} images of {split.split} ({percent(split)})"
            rows.append(("leaks", f"in train too: {share}, whose score is better than it should be"))
    if result.conflicts:
        rows.append(("label conflicts", f"{_images(result.conflicts)} in more than one class"))
    others = sum(not (group.leak or group.conflict) for group in result.duplicates)
    if others:
        rows.append(("duplicates", f"{_images(others)} more than once in a class"))
    return rows


def _images(count: int) -> str:
    return f"{count:,} {'image' if count == 1 else 'images'}"


def percent(split: CheckedSplit) -> str:
    """How much of a split leaked."""
    return f"{100 * split.leaked / split.images:.1f} %"


def group_words(group: DuplicateGroup) -> str:
    """What the group is."""
    words = (["leak"] if group.leak else []) + (["label conflict"] if group.conflict else [])
    return ", ".join(words) or "duplicate"


def _duplicates(result: DataCheck) -> list[RenderableType]:
    if not result.duplicates:
        return [Text("No image is there twice.", style="green")]
    rows: dict[str, list[tuple[str, ...]]] = {}
    for group in result.duplicates:
        kind, first = group_words(group), short_name(result, group.images[0])
        rows.setdefault(kind, []).extend(
            (first, short_name(result, copy), copy.what, kind) for copy in group.images[1:]
        )
    shown = [row for of_kind in rows.values() for row in of_kind[:_SHOWN_DUPLICATES]]
    told = facts([(name, Text(words, style="yellow")) for name, words in duplicate_facts(result)])
    table = data_table(("image", "and", "how", "which is a"), shown, left=4)
    return [told, table, *_more(sum(map(len, rows.values())) - len(shown))]


def _odd(result: DataCheck) -> list[RenderableType]:
    if not result.odd:
        return []
    shown = [(short_name(result, one), odd_words(one)) for one in result.odd[:_SHOWN_ODD]]
    return [data_table(("odd image", "what"), shown, left=2), *_more(len(result.odd) - len(shown))]


def odd_words(image: FoundImage) -> str:
    """What is odd about it, and its size."""
    return f"{image.what}, {size_words((image.width, image.height))}"


def short_name(result: DataCheck, image: FoundImage) -> str:
    """Relative to the data set where it is a file of it."""
    return image.name.removeprefix(f"{result.data}{os.sep}")


def _more(count: int) -> list[RenderableType]:
    return [Text(f"and {count:,} more; --json and --report show them", style="dim")] if count else []
