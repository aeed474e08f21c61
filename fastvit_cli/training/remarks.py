"""What the scores of a run say about it, where that is plain: for its end, a sentence each with the way on."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastvit_cli.evaluation.calibration import wilson_interval
from fastvit_cli.training.events import EpochDone, best_of

_FEW_UPDATES = 100
_WIDE_INTERVAL = 10.0  # points of top-1
_STILL_RISING = 0.9  # of the run, after which the best epoch came
_LOWER_LOSS = 0.02  # of the loss, by which it fell in the last fifth of such a run
_OVERFITTED = 1.3  # times the lowest validation loss, at the end


@dataclass(frozen=True)
class RunFacts:
    """What a run was besides its scores.

    Attributes:
        stopped: it ended before its last epoch.
    """

    classes: int
    val_images: int
    steps_per_epoch: int
    stopped: bool


def remarks(history: Sequence[EpochDone], facts: RunFacts) -> tuple[str, ...]:
    """The sentences that are true of a run, what matters most first; none before its first epoch with scores."""
    best = best_of(history)
    if best is None or facts.val_images == 0:
        return ()
    low, high = wilson_interval(round(best.val_top1 * facts.val_images / 100.0), facts.val_images)
    found = [
        _near_chance(low, facts),
        _few_updates(history, facts),
        _still_rising(history, best, facts),
        _overfitted(history, best),
        _too_small_to_tell(low, high, facts),
    ]
    return tuple(filter(None, found))


def _near_chance(low: float, facts: RunFacts) -> str:
    chance = 100.0 / facts.classes
    if facts.classes < 2 or low > chance:
        return ""
    return (
        f"Top-1 is no better than chance ({chance:.2f} % of {facts.classes} classes). Look at the labels (fastvit "
        "check), start from weights (--pretrained, --ckpt), or train longer."
    )


def _few_updates(history: Sequence[EpochDone], facts: RunFacts) -> str:
    updates = len(history) * facts.steps_per_epoch
    if facts.stopped or updates >= _FEW_UPDATES:
        return ""
    return f"The weights changed {updates} times only: pass more --epochs, or a smaller --batch-size."


def _still_rising(history: Sequence[EpochDone], best: EpochDone, facts: RunFacts) -> str:
    """The best epoch is among the last ones, and the loss was still falling in the last fifth."""
    if facts.stopped or len(history) < 5 or best.epoch <= _STILL_RISING * len(history):
        return ""
    before = history[-1 - len(history) // 5]
    if history[-1].val_loss > (1 - _LOWER_LOSS) * before.val_loss:
        return ""
    return f"Validation was still getting better: --epochs {2 * len(history)} would likely reach more."


def _overfitted(history: Sequence[EpochDone], best: EpochDone) -> str:
    lowest = min(history, key=lambda row: row.val_loss)
    learned = history[-1].train_loss < lowest.train_loss
    if not learned or history[-1].val_loss < _OVERFITTED * lowest.val_loss or best.epoch > len(history) / 2:
        return ""
    return (
        f"After epoch {lowest.epoch} the network learned the training images by heart (validation loss "
        f"{lowest.val_loss:.2f}, then {history[-1].val_loss:.2f}): fewer --epochs, --freeze-backbone, or more images."
    )


def _too_small_to_tell(low: float, high: float, facts: RunFacts) -> str:
    if high - low <= _WIDE_INTERVAL:
        return ""
    return f"{facts.val_images:,} validation images tell top-1 to within {low:.0f} to {high:.0f} % (95 % interval)."
