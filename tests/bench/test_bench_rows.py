"""How rows stand to each other and to the machine."""

from helpers.bench_rows import row

from fastvit_cli.bench.events import BenchRow
from fastvit_cli.bench.rows import with_ratios


def test_unasked_no_ratio_is_across_image_sizes() -> None:
    def timed(name: str, size: int, peer: str | None = None) -> BenchRow:
        return row(name, img_size=size, peer=peer, variant=name, round_medians_ms=(1.0,) * 20)

    rows = [timed("t8", 64), timed("t8", 64, "timm"), timed("sa24", 256)]  # sa24's peer was lost
    assert [one.ratio is None for one in with_ratios(rows, None)] == [False, True, True]
    assert [one.ratio is None for one in with_ratios(rows, "timm")] == [False, True, False]
