"""From durations to figures: percentiles, means, and intervals that say how far to trust them.

Samples come in rounds: a few steps taken one after the other, then the other subjects have their turn. Neighbouring
steps are alike, and so are neighbouring rounds where a slow minute of the machine slows several: intervals are made
of stretches of rounds, except those of subjects that took turns, in whose ratios such minutes cancel.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95  # of every interval
# Stretches that the rounds are cut into for the interval of a median, and Student's t for one degree of freedom to
# six. On a shared machine the speed of a round tells that of the next five to eight; of fifty, each holds seven.
_STRETCHES = 7
_STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447)
# With fewer rounds no interval of a ratio reaches the level: even from the lowest to the highest is 2 * 2**-5 short.
MIN_ROUNDS = 6

Rounds = Sequence[Sequence[int]]  # nanoseconds, by round; no round is empty


@dataclass(frozen=True)
class Summary:
    """Figures of one subject, in milliseconds.

    Attributes:
        interval_ms: 95 % interval of the median; None of a single round.
        trimmed_mean_ms: mean over rounds without the fastest and the slowest one, as Apple's ModelBench gives it.
        round_medians_ms: median of each round, in the order they were taken.
        samples: durations behind the figures.
    """

    median_ms: float
    interval_ms: tuple[float, float] | None
    p90_ms: float
    p99_ms: float
    mean_ms: float
    trimmed_mean_ms: float
    round_medians_ms: tuple[float, ...]
    samples: int


@dataclass(frozen=True)
class Ratio:
    """One time over another: 0.5 is half as long.

    Attributes:
        low, high: 95 % interval; None where there are too few rounds for one.
        significant: whether the interval leaves out 1.
    """

    value: float
    low: float | None
    high: float | None
    significant: bool


def summarize(rounds: Rounds) -> Summary:
    """All figures of the durations of one subject, in nanoseconds by round."""
    pooled = np.concatenate([np.asarray(durations, dtype=np.float64) for durations in rounds]) / 1e6
    median, p90, p99 = (float(value) for value in np.percentile(pooled, (50, 90, 99)))
    means = sorted(float(np.mean(durations)) / 1e6 for durations in rounds)
    kept = means[1:-1] if len(means) > 2 else means
    return Summary(
        median_ms=median,
        interval_ms=median_interval_ms(rounds),
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=float(pooled.mean()),
        trimmed_mean_ms=math.fsum(kept) / len(kept),
        round_medians_ms=tuple(float(np.median(durations)) / 1e6 for durations in rounds),
        samples=len(pooled),
    )


def median_interval_ms(rounds: Rounds) -> tuple[float, float] | None:
    """95 % interval of the median of all durations, on a machine whose speed wanders.

    Of non-overlapping batches (Schmeiser, Operations Research 30, 1982): the rounds are cut into seven stretches, and
    the logarithms of their medians are taken for independent. None of a single round, which says nothing of how
    rounds differ.
    """
    medians = _stretches(rounds)
    if len(medians) < 2:
        return None
    half = _STUDENT_T[len(medians) - 2] * float(np.std(medians, ddof=1)) / math.sqrt(len(medians))
    median = float(np.median(np.concatenate(rounds))) / 1e6
    return median * math.exp(-half), median * math.exp(half)


def _stretches(rounds: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Logarithms of the medians of seven stretches of the rounds, or of each round where there are fewer."""
    cuts = np.linspace(0, len(rounds), min(_STRETCHES, len(rounds)) + 1).astype(int)
    return np.log([np.median(np.concatenate(rounds[begin:end])) for begin, end in itertools.pairwise(cuts)])


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ours over theirs, both measured in the same rounds: what slowed both down in one cancels.

    The middle of the rounds' ratios as Hodges and Lehmann (1963) estimate it: of their logarithms, the median of the
    means of all pairs. It uses the rounds better than their median does (of normal noise, as if there were half as
    many again), and rounds that were disturbed still do not move it. Its interval is that of Wilcoxon's signed ranks,
    which asks of the noise only that it strikes both alike.

    Args:
        ours, theirs: medians of the rounds. Where one has fewer rounds, the first of the other count.
    """
    count = min(len(ours), len(theirs))
    ratios = np.log(np.asarray(ours[:count]) / np.asarray(theirs[:count]))
    first, second = np.triu_indices(count)
    means = np.sort((ratios[first] + ratios[second]) / 2)
    value = math.exp(np.median(means))
    if count < MIN_ROUNDS:
        return Ratio(value, None, None, significant=False)
    outside = _ranks_outside(count)
    return _ratio(value, math.exp(means[outside]), math.exp(means[-1 - outside]))


def unpaired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ours over theirs, not measured side by side: in two runs of the program, or in two parts of one.

    The difference of the means of the stretches' logarithms, with Welch's interval; of his degrees of freedom the
    fewest there can be. What differs between the runs as a whole, such as another program beside one of them, is in
    the ratio.

    Args:
        ours, theirs: medians of the rounds, in the order they were taken.
    """
    one, other = (_stretches([[duration] for duration in medians]) for medians in (ours, theirs))
    middle = float(np.mean(one) - np.mean(other))
    if min(len(ours), len(theirs)) < MIN_ROUNDS:
        return Ratio(math.exp(middle), None, None, significant=False)
    error = math.hypot(*(float(np.std(medians, ddof=1)) / math.sqrt(len(medians)) for medians in (one, other)))
    half = _STUDENT_T[min(len(one), len(other)) - 2] * error
    return _ratio(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def _ratio(value: float, low: float, high: float) -> Ratio:
    return Ratio(value, low, high, significant=not low <= 1.0 <= high)


@functools.cache
def _ranks_outside(count: int) -> int:
    """How many means of pairs of `count` values, sorted, to leave out at each end of a 95 % interval of the middle.

    As many as the ranks of the values above the middle may sum to, where each is as likely above it as below.
    """
    chances = np.ones(1)  # of each sum, of the ranks so far
    for rank in range(1, count + 1):
        chances = np.convolve(chances, [0.5, *[0.0] * (rank - 1), 0.5])
    # The largest sum that together with those below it has at most half the chance that an interval leaves.
    return int(np.searchsorted(np.cumsum(chances), (1 - LEVEL) / 2, side="right")) - 1
