"""How rows stand to each other and to the machine."""

from helpers.bench_rows import row

from fastvit_cli.bench.events import BenchRow
from fastvit_cli.bench.rows import with_peak_shares, with_ratios


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
