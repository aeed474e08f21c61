"""The page of `fastvit check --report`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from fastvit_cli.atomic import write_text
from fastvit_cli.data.check import DataCheck, DuplicateGroup, FoundImage
from fastvit_cli.data.images import Images
from fastvit_cli.data.thumbnails import thumbnail
from fastvit_cli.ui.check_view import (
    class_sheet,
    duplicate_facts,
    group_words,
    odd_words,
    percent,
    short_name,
    size_facts,
    size_words,
)
from fastvit_cli.ui.pages import Card, render
from fastvit_cli.ui.report import PAGE, RESULTS
from fastvit_cli.ui.session import write_json_file
from fastvit_cli.ui.tables import data_name

FILES = frozenset((PAGE, RESULTS))
_GROUPS, _OF_A_GROUP, _ODD = 30, 6, 24  # groups of a kind
_EXAMPLES, _OF_A_CLASS = 72, 8
_SIDE = 192


@dataclass(frozen=True)
class _Picture:
    """A JPEG, none of a file that is gone since, and what stands below it."""

    jpeg: bytes | None
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Group:
    """The same image several times; `more` of them are not shown."""

    pictures: list[_Picture]
    more: int


@dataclass(frozen=True)
class _Kind:
    """Groups that mean the same, such as leaks; `more` of them are not shown."""

    title: str
    groups: list[_Group]
    more: int


def write_page(folder: Path, result: DataCheck, opened: Mapping[str, Images], envelope: dict[str, Any]) -> None:
    """Write the report into a folder, the page last.

    Raises:
        FastViTError: the folder cannot be written.
    """
    write_json_file(folder / RESULTS, envelope)
    write_text(folder / PAGE, page(result, opened, envelope["environment"]))


def page(result: DataCheck, opened: Mapping[str, Images], environment: Mapping[str, str]) -> str:
    """The whole page as text.

    Args:
        opened: the images of each split.
    """
    images = sum(split.images for split in result.splits)
    return render(
        "check.html",
        title=f"A look at {data_name(result.data)}",
        subtitle=f"{images:,} images of {len(result.class_counts):,} classes in "
        + ", ".join(split.split for split in result.splits),
        footer=_footer(environment),
        cards=_cards(result, images),
        warnings=[*([result.training_error] if result.training_error else []), *result.notes],
        meaning=duplicate_facts(result),
        kinds=_kinds(result, opened),
        odd=[_picture(result, one, opened, odd_words(one)) for one in result.odd[:_ODD]],
        more_odd=max(0, len(result.odd) - _ODD),
        unreadable=[bad for split in result.splits for bad in split.unreadable],
        classes=class_sheet(result, sorted(result.class_counts, key=lambda row: -sum(row.images))),
        examples=list(_examples(opened)),
        sizes=size_facts(result),
    )


def _footer(environment: Mapping[str, str]) -> str:
    versions = [f"{name} {environment[name]}" for name in ("fastvit", "python") if name in environment]
    written = f"{datetime.now().astimezone():%d %B %Y, %H:%M %Z}"
    return f"Written {written} by {', '.join(versions)}. All of it: {RESULTS}."


def _cards(result: DataCheck, images: int) -> list[Card]:
    unreadable = sum(len(split.unreadable) for split in result.splits)
    leaks = [
        Card(
            f"{split.split} leaked",
            percent(split),
            f"{split.leaked:,} of {split.images:,} are in train",
        )
        for split in result.splits
        if split.split != "train" and len(result.splits) > 1
    ]
    return [
        Card("images", f"{images:,}", ", ".join(f"{split.images:,} {split.split}" for split in result.splits)),
        *leaks,
        Card("label conflicts", f"{result.conflicts:,}"),
        Card("unreadable", f"{unreadable:,}"),
    ]


def _kinds(result: DataCheck, opened: Mapping[str, Images]) -> list[_Kind]:
    kinds: dict[str, list[DuplicateGroup]] = {}
    for group in result.duplicates:
        kinds.setdefault(group_words(group), []).append(group)
    return [
        _Kind(title, [_group(result, group, opened) for group in groups[:_GROUPS]], max(0, len(groups) - _GROUPS))
        for title, groups in kinds.items()
    ]


def _group(result: DataCheck, group: DuplicateGroup, opened: Mapping[str, Images]) -> _Group:
    pictures = [_picture(result, one, opened, _how(one)) for one in _ends(group.images, _OF_A_GROUP)]
    return _Group(pictures, len(group.images) - len(pictures))


def _how(image: FoundImage) -> str:
    size = size_words((image.width, image.height))
    return f"{size}, {image.what}" if image.what else size


def _ends(images: tuple[FoundImage, ...], count: int) -> tuple[FoundImage, ...]:
    """The first and the last: where splits or classes meet, both sides are seen."""
    if len(images) <= count:
        return images
    return (*images[: count - count // 2], *images[-(count // 2) :])


def _picture(result: DataCheck, image: FoundImage, opened: Mapping[str, Images], words: str) -> _Picture:
    lines = (words, short_name(result, image))
    return _Picture(_jpeg(opened[image.split], image.index), f"{image.class_name}, {image.split}", lines)


def _examples(opened: Mapping[str, Images]) -> Iterator[_Picture]:
    """Some of the first split's classes, spread evenly, and of each some images."""
    images = next(iter(opened.values()))
    labels = np.unique(images.labels)
    count = max(1, min(_OF_A_CLASS, _EXAMPLES // len(labels)))
    for label in labels[_spread(len(labels), _EXAMPLES // count)].tolist():
        places = np.flatnonzero(images.labels == label)
        for index in places[_spread(len(places), count)].tolist():
            yield _Picture(_jpeg(images, index), images.class_names[label], (Path(images.name(index)).name,))


def _spread(size: int, count: int) -> Any:
    return np.unique(np.linspace(0, size - 1, min(size, count)).round().astype(int))


def _jpeg(images: Images, index: int) -> bytes | None:
    try:
        return thumbnail(images, index, _SIDE)
    except Exception:  # it could not be read before either, or is gone since; decoders raise many types
        return None
