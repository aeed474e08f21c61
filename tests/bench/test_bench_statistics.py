"""The statistics against truth: simulated machines whose true times are known."""

import numpy as np
import pytest

from fastvit_cli.bench.statistics import (
    median_interval_ms,
    paired_ratio,
    summarize,
    unpaired_ratio,
)
from fastvit_cli.bench.timer import ROUNDS

MS = 1_000_000
STEPS = 5
RUNS = 3000  # enough to tell a rate just below 5 % from one above


class Machine:
    """A machine with noise in every step, more of it in every round, a slow drift, and interruptions now and then."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def drift(self) -> np.ndarray:
        phase = self.random.uniform(0, 2 * np.pi)
        return 1 + 0.1 * np.sin(np.linspace(0, 3, ROUNDS) + phase)

    def wandering(self) -> np.ndarray:
        """As measured on two cores of a shared machine: rounds 10 % fast or slow, each much like the one before."""
        logarithms = np.empty(ROUNDS)
        speed = 0.1 * self.random.standard_normal()
        for number in range(ROUNDS):
            logarithms[number] = speed
            speed = 0.6 * speed + 0.8 * 0.1 * self.random.standard_normal()
        return np.exp(logarithms)

    def rounds(self, true_ms: float, drift: np.ndarray | float = 1.0) -> list[list[int]]:
        slowness = drift * np.exp(0.02 * self.random.standard_normal(ROUNDS))
        steps = np.exp(0.03 * self.random.standard_normal((ROUNDS, STEPS)))
        interrupted = 1 + 4 * (self.random.random((ROUNDS, STEPS)) < 0.03)
        return (true_ms * MS * slowness[:, None] * steps * interrupted).astype(int).tolist()


def medians(rounds: list[list[int]]) -> list[float]:
    """As `Summary.round_medians_ms`, without the other figures."""
    return np.median(rounds, axis=1).tolist()


def found(slow_down: float, *, paired: bool) -> float:
    """Share of simulated runs in which the second subject is called slower or faster than the first."""
    hits = 0
    for seed in range(RUNS):
        machine = Machine(seed)
        drift = machine.drift() if paired else 1.0
        base, other = medians(machine.rounds(8.0, drift)), medians(machine.rounds(8.0 * slow_down, drift))
        hits += (paired_ratio if paired else unpaired_ratio)(other, base).significant
    return hits / RUNS


@pytest.mark.parametrize("paired", [True, False])
def test_a_slow_down_of_5_percent_is_found_and_none_is_invented(paired: bool) -> None:
    assert found(1.05, paired=paired) >= 0.999
    assert found(1.02 if paired else 1.03, paired=paired) >= 0.95
    assert found(1.0, paired=paired) <= 0.05


def test_the_interval_holds_the_true_median() -> None:
    held = 0
    for seed in range(100):
        interval = median_interval_ms(Machine(seed).rounds(8.0))
        assert interval is not None
        # Interruptions only ever add time: the median of all steps is a little above the true one.
        held += interval[0] <= 8.0 * 1.001 <= interval[1]
    assert held / 100 >= 0.9


def test_the_interval_holds_it_on_a_machine_whose_speed_wanders() -> None:
    held = naive = overlaps = 0
    runs = 400
    for seed in range(runs):
        machine, intervals = Machine(seed), []
        for _ in range(2):
            rounds = machine.rounds(8.0, machine.wandering())
            interval = median_interval_ms(rounds)
            assert interval is not None
            intervals.append(interval)
        (low, high), (again_low, again_high) = intervals
        held += low <= 8.0 * 1.001 <= high
        overlaps += low <= again_high and again_low <= high
        logarithms = np.log(medians(rounds)) - np.log(8.0 * 1.001 * MS)
        naive += abs(logarithms.mean()) <= 2.01 * logarithms.std(ddof=1) / ROUNDS**0.5
    assert held / runs >= 0.9
    assert overlaps / runs >= 0.95
    assert naive / runs < 0.8, "what an interval would do that took the rounds for independent"


def test_outliers_move_the_tail_and_not_the_median() -> None:
    clean = [[10 * MS] * 5 for _ in range(20)]
    for position in range(0, 20, 2):
        clean[position][2] = 500 * MS  # a tenth of the samples
    figures = summarize(clean)
    assert figures.median_ms == 10.0
    assert figures.interval_ms == (10.0, 10.0)
    assert figures.p99_ms == 500.0
    assert figures.mean_ms == 59.0
    assert set(figures.round_medians_ms) == {10.0}


def test_percentiles_are_interpolated_and_in_milliseconds() -> None:
    figures = summarize([[n * MS for n in (5, 1, 2, 4, 3)]])
    assert (figures.median_ms, figures.mean_ms, figures.samples) == (3.0, 3.0, 5)
    assert figures.p90_ms == pytest.approx(4.6)
    assert figures.p99_ms == pytest.approx(4.96)
    assert figures.interval_ms is None, "one round says nothing of how rounds differ"


def test_the_trimmed_mean_leaves_out_the_fastest_and_the_slowest_round() -> None:
    rounds = [[2 * MS, 4 * MS], [100 * MS], [MS], [5 * MS, 7 * MS]]
    assert summarize(rounds).trimmed_mean_ms == 4.5  # of 3 and 6
    assert summarize(rounds[:2]).trimmed_mean_ms == 51.5  # two rounds: nothing to leave out


def test_an_interval_is_of_stretches_and_of_more_doubt_where_there_are_few() -> None:
    slow_minute = [[10 * MS]] * 21 + [[12 * MS]] * 10 + [[10 * MS]] * 19
    interval = median_interval_ms(slow_minute)
    assert interval is not None
    assert interval[1] / interval[0] > 1.05
    scattered = [slow_minute[7 * number % 50] for number in range(50)]
    assert median_interval_ms(scattered) == (10.0, 10.0), "the same rounds in another order"
    few = median_interval_ms([[10 * MS], [12 * MS]])
    assert few is not None
    assert few[0] < 5 < 20 < few[1]


def test_ratios_pair_the_rounds() -> None:
    drifting = tuple(5.0 + number for number in range(20))
    ratio = paired_ratio([2 * value for value in drifting], drifting)
    assert (ratio.value, ratio.low, ratio.high, ratio.significant) == (2.0, 2.0, 2.0, True)
    # The same drift unpaired hides it.
    assert not unpaired_ratio([1.1 * value for value in drifting], drifting).significant


def test_a_ratio_is_the_middle_of_the_means_of_pairs() -> None:
    # Of 1, 2 and 16 the means of pairs are, in powers of two: 0, 0.5, 1, 2, 2.5 and 4.
    assert paired_ratio([1.0, 2.0, 16.0], [1.0] * 3).value == pytest.approx(2**1.5)
    # A round in which something struck only one of the two hardly counts.
    assert paired_ratio([2.0] * 40 + [30.0] * 10, [1.0] * 50).value == pytest.approx(2.0)


@pytest.mark.parametrize("count", [6, 7, 10, 13])
def test_the_interval_of_a_ratio_is_wrong_in_at_most_5_percent(count: int) -> None:
    """Of all ways in which the noise can strike one or the other, where both take the same time."""
    sizes = np.sqrt(np.arange(1, count + 1)) / 100  # no two sums alike
    signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    wrong = sum(paired_ratio(np.exp(noise), np.ones(count)).significant for noise in signs * sizes)
    assert 0.03 <= wrong / 2**count <= 0.05


def test_two_runs_on_a_machine_whose_speed_wanders_are_seldom_called_different() -> None:
    false = naive = 0
    runs = 1000
    for seed in range(runs):
        machine = Machine(seed)
        first, second = (medians(machine.rounds(8.0, machine.wandering())) for _ in range(2))
        false += unpaired_ratio(first, second).significant
        difference = np.mean(np.log(first)) - np.mean(np.log(second))
        naive += abs(difference) > 1.98 * np.hypot(np.std(np.log(first)), np.std(np.log(second))) / ROUNDS**0.5
    assert false / runs <= 0.06
    assert naive / runs > 0.3, "what a test would do that took the rounds for independent"


@pytest.mark.parametrize("count", range(1, 6))
def test_too_few_rounds_give_a_ratio_without_interval(count: int) -> None:
    for ratio in (paired_ratio([2.0] * count, [1.0] * count), unpaired_ratio([2.0] * count, [1.0] * 20)):
        assert ratio.value == pytest.approx(2.0)
        assert (ratio.low, ratio.high, ratio.significant) == (None, None, False)


def test_a_subject_that_ended_early_is_paired_with_the_first_rounds() -> None:
    assert paired_ratio([2.0] * 6, [1.0] * 6 + [9.0] * 14).value == 2.0


def test_identical_samples_are_no_difference() -> None:
    same = [8.0] * 20
    for ratio in (paired_ratio(same, same), unpaired_ratio(same, same)):
        assert (ratio.value, ratio.low, ratio.high, ratio.significant) == (1.0, 1.0, 1.0, False)
