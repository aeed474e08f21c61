"""What the samples of a row come to, and how rows stand to each other."""

import itertools
import statistics
from dataclasses import replace

from fastvit_cli.bench.baseline import baseline_rows
from fastvit_cli.bench.events import INFERENCE, BenchRow
from fastvit_cli.bench.statistics import paired_ratio, summarize, unpaired_ratio
from fastvit_cli.bench.timer import Samples
from fastvit_cli.formats import PYTORCH

WHOLE_STEP = "step"
# In multiply-adds of the forward pass: the backward pass computes the gradients of inputs and of weights.
_WORK_OF_PART = {INFERENCE: 1, "forward": 1, "backward": 2, WHOLE_STEP: 3}


def so_far(row: BenchRow, samples: Samples) -> BenchRow:
    """The row with the median of the whole step, without the rest, which takes longer to compute."""
    median_ms = statistics.median(itertools.chain(*whole_step(samples))) / 1e6
    return replace(row, median_ms=median_ms, images_per_second=row.batch_size / median_ms * 1e3)


def whole_step(samples: Samples) -> tuple[tuple[int, ...], ...]:
    """Nanoseconds by round, of several parts their sum."""
    return tuple(tuple(map(sum, zip(*one_round, strict=True))) for one_round in zip(*samples.parts, strict=True))


def with_figures(row: BenchRow, rounds: tuple[tuple[int, ...], ...]) -> BenchRow:
    """The row with what its samples, by round, say."""
    figures = summarize(rounds)
    work = _WORK_OF_PART.get(row.part)
    multiply_adds = None if row.multiply_adds is None or work is None else row.multiply_adds * work
    return replace(
        row,
        **vars(figures),
        images_per_second=row.batch_size / figures.median_ms * 1e3,
        multiply_adds=multiply_adds,
        flops=None if multiply_adds is None else 2 * multiply_adds / figures.median_ms * 1e3,
    )


def with_peak_shares(rows: list[BenchRow], peaks: dict[tuple[str, str], float]) -> list[BenchRow]:
    """Of PyTorch's engines, whose fastest matrix product it is: to the kernels of other libraries that is no limit.

    Nor is it one to whatever goes beyond it, such as a convolution that takes fewer operations than are counted.
    """

    def share(row: BenchRow) -> float | None:
        peak = peaks.get((row.device, row.dtype))
        if peak is None or row.flops is None or row.engine not in PYTORCH or row.flops > peak:
            return None
        return row.flops / peak

    return [replace(row, peak_share=share(row)) for row in rows]


def with_ratios(rows: list[BenchRow], word: str | None) -> list[BenchRow]:
    """Each row over its baseline: within one batch and size by rounds, as they were timed side by side."""
    out = []
    for row, index in zip(rows, baseline_rows(rows, word), strict=True):
        base = rows[index]
        # Unasked, no time is compared with that of larger or smaller images.
        across = word is None and row.img_size != base.img_size
        if row is base or across or not row.round_medians_ms or not base.round_medians_ms:
            out.append(replace(row, baseline=base.label))
            continue
        same_block = (row.batch_size, row.img_size) == (base.batch_size, base.img_size)
        ratio = (paired_ratio if same_block else unpaired_ratio)(row.round_medians_ms, base.round_medians_ms)
        out.append(replace(row, baseline=base.label, ratio=ratio))
    return out
