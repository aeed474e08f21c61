"""Whether the data that a run goes on with is what it was trained on so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastvit_cli.errors import FastViTError
from fastvit_cli.names import composed

_NAMED = 3


@dataclass(frozen=True)
class TrainedOn:
    """What labels, the order of the images and the place in an epoch depend on."""

    class_names: tuple[str, ...]
    train_images: int


def refuse_other_data(saved: Mapping[str, Any], now: TrainedOn, instead: str) -> None:
    """Refuse data whose classes or number of images have changed since the run began.

    Args:
        saved: the fields of what the run was trained on.
        instead: what to type in place of `--resume`.

    Raises:
        FastViTError: the classes or the number of images have changed.
    """
    before = TrainedOn(tuple(map(composed, saved["class_names"])), saved["train_images"])
    if before == now:
        return
    changes = [
        f"{_named(names)} {'is' if len(names) == 1 else 'are'} {change}"
        for change, names in (
            ("gone", [name for name in before.class_names if name not in now.class_names]),
            ("new", [name for name in now.class_names if name not in before.class_names]),
        )
        if names
    ]
    if not changes and before.class_names != now.class_names:
        changes.append("the classes are in another order")
    if before.train_images != now.train_images:
        changes.append(f"there are {now.train_images:,} training images and were {before.train_images:,}")
    raise FastViTError(
        f"The data has changed since the state was saved: {', '.join(changes)}.", f"Put it back, or {instead}."
    )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{'class' if len(names) == 1 else 'classes'} {shown}{more}"
