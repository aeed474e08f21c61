"""Rows from samples that are made up: what they come to, and which of them were timed side by side."""

import pytest
from helpers.bench_rows import row

from fastvit_cli.bench.events import BenchRow
from fastvit_cli.bench.rows import with_figures, with_peak_shares, with_ratios

MS = 1_000_000
# A machine that gets slower and slower: two subjects in the same rounds have the same ratio in each.
DRIFT = tuple(float(2**step) for step in range(8))


@pytest.mark.parametrize(("part", "times"), [("inference", 1), ("forward", 1), ("backward", 2), ("step", 3)])
def test_the_work_of_a_part_is_so_many_forward_passes(part: str, times: int) -> None:
    """The backward pass computes two gradients with as much work each, of its inputs and of its weights."""
    done = with_figures(row(part=part, multiply_adds=1000), ((2 * MS,), (2 * MS,)))
    assert done.multiply_adds == 1000 * times
    assert done.flops == pytest.approx(2 * 1000 * times / 2e-3)


def test_the_optimizer_does_no_work_that_is_counted() -> None:
    done = with_figures(row(part="optimizer", multiply_adds=1000), ((2 * MS,),))
    assert (done.median_ms, done.multiply_adds, done.flops) == (2.0, None, None)


def test_rows_of_one_batch_are_compared_round_by_round() -> None:
    slow = tuple(2 * duration for duration in DRIFT)
    base, other = with_ratios([row("a", round_medians_ms=DRIFT), row("b", round_medians_ms=slow)], None)
    assert base.ratio is None
    assert other.ratio is not None
    assert (other.ratio.low, other.ratio.value, other.ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert other.ratio.significant


@pytest.mark.parametrize("other", [{"batch_size": 2}, {"img_size": 96}])
def test_rows_of_another_batch_or_size_had_other_rounds(other: dict[str, int]) -> None:
    """The number of a round says nothing then: the drift stays in the interval."""
    slow = tuple(2 * duration for duration in DRIFT)
    rows = [row(round_medians_ms=DRIFT), row(round_medians_ms=slow, **other)]
    base, compared = with_ratios(rows, "batch 1" if "batch_size" in other else "64 px")
    assert compared.baseline == base.label
    assert compared.ratio is not None
    assert compared.ratio.value == pytest.approx(2.0)
    assert compared.ratio.low is not None
    assert compared.ratio.high is not None
    assert compared.ratio.low < 1.0 < compared.ratio.high
    assert not compared.ratio.significant


def test_unasked_no_ratio_is_across_image_sizes() -> None:
    def timed(name: str, size: int, peer: str | None = None) -> BenchRow:
        return row(name, img_size=size, peer=peer, variant=name, round_medians_ms=(1.0,) * 20)

    rows = [timed("t8", 64), timed("t8", 64, "timm"), timed("sa24", 256)]  # sa24's peer was lost
    assert [one.ratio is None for one in with_ratios(rows, None)] == [False, True, True]
    assert [one.ratio is None for one in with_ratios(rows, "timm")] == [False, True, False]


def test_the_peak_is_pytorchs_own_and_a_limit_only_while_it_holds() -> None:
    rows = [row(engine=engine, flops=8e10) for engine in ("torch", "compile", "onnxruntime", "openvino", "coreml")]
    rows += [row(flops=1.6e11), row(flops=8e10, dtype="bfloat16"), row()]
    shares = [one.peak_share for one in with_peak_shares(rows, {("cpu", "float32"): 1e11})]
    assert shares == [0.8, 0.8, None, None, None, None, None, None]
