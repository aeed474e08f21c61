"""From durations to figures: percentiles, means, and intervals that say how far to trust them.

Samples come in rounds: a few steps taken one after the other, then the other subjects have their turn. Neighbouring
steps are alike, and so are neighbouring rounds where a slow minute of the machine slows several: intervals of single
subjects are made of stretches of rounds, those of ratios, in which such minutes cancel, of rounds.
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
    stretches = min(_STRETCHES, len(rounds))
    if stretches < 2:
        return None
    durations = [np.asarray(taken, dtype=np.float64) for taken in rounds]
    cuts = np.linspace(0, len(rounds), stretches + 1).astype(int)
    medians = [np.median(np.concatenate(durations[begin:end])) for begin, end in itertools.pairwise(cuts)]
    half = _STUDENT_T[stretches - 2] * float(np.std(np.log(medians), ddof=1)) / math.sqrt(stretches)
    median = float(np.median(np.concatenate(durations))) / 1e6
    return median * math.exp(-half), median * math.exp(half)


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
    """Ours over theirs, measured in two runs of the program.

    The counterpart of `paired_ratio`: the median of the ratios of each of our rounds to each of theirs, with the
    interval of the test of Mann and Whitney. What differs between the runs as a whole, such as another program beside
    one of them, is in the ratio.

    Args:
        ours, theirs: medians of the rounds.
    """
    ratios = np.sort(np.subtract.outer(np.log(ours), np.log(theirs)), axis=None)
    value = math.exp(np.median(ratios))
    if min(len(ours), len(theirs)) < MIN_ROUNDS:
        return Ratio(value, None, None, significant=False)
    outside = _pairs_outside(len(ours), len(theirs))
    return _ratio(value, math.exp(ratios[outside]), math.exp(ratios[-1 - outside]))


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
    return _unlikely(chances)


@functools.cache
def _pairs_outside(ours: int, theirs: int) -> int:
    """The same of the ratios of `ours` values to `theirs`: in how few pairs ours may be larger, of equal ones."""
    of_fewer = [np.ones(1)] * (
        theirs + 1
    )  # chances of each number of such pairs, by how many of theirs; of none of ours
    for mine in range(1, ours + 1):
        chances = [np.ones(1)]
        for others in range(1, theirs + 1):
            # The largest value is one of ours, above all of theirs, or it is one of theirs.
            ours_largest, theirs_largest = np.pad(of_fewer[others], (others, 0)), np.pad(chances[-1], (0, mine))
            chances.append((mine * ours_largest + others * theirs_largest) / (mine + others))
        of_fewer = chances
    return _unlikely(of_fewer[-1])


def _unlikely(chances: NDArray[np.float64]) -> int:
    """The largest number that together with those below it has at most half the chance that an interval leaves."""
    return int(np.searchsorted(np.cumsum(chances), (1 - LEVEL) / 2, side="right")) - 1
