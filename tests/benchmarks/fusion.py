"""What fusing buys: unfused, branches fused, all fused, and timm fused its way, interleaved in one run.

    python tests/benchmarks/fusion.py --variant t8 --iterations 100

Timed in turns by the timer of `fastvit bench`, so that a slow moment of the machine hits all of them. Printed: median
time, and how many times as fast as timm's, with a 95 % interval.
"""

import argparse
import functools
from collections.abc import Callable

import timm
import torch
from rich.console import Console
from torch import Tensor

from fastvit_cli import create_model, reparameterize
from fastvit_cli.bench.statistics import Summary, paired_ratio, summarize
from fastvit_cli.bench.timer import Limits, Samples, Timed, interleave, warm_up
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.ui.tables import data_table

Forward = Callable[[Tensor], Tensor]
PEER = "timm fused"


def subjects(variant: str) -> dict[str, Forward]:
    """The same weights in four forms."""
    torch.manual_seed(0)
    model = create_model(variant).eval()
    peer = timm.create_model(f"fastvit_{variant}").eval()
    peer.load_state_dict(model.state_dict())
    peer = timm.utils.model.reparameterize_model(peer)
    return {"unfused": model, "branches fused": reparameterize(model), "all fused": fuse_all(model), PEER: peer}


@torch.inference_mode()
def interleaved(forwards: dict[str, Forward], images: Tensor, iterations: int) -> dict[str, Summary]:
    """The figures of each subject, timed in turns as `fastvit bench` does."""
    limits, warm = Limits(iterations, min_seconds=0.0, max_seconds=600.0), {}
    for name, forward in forwards.items():
        timed = Timed((functools.partial(forward, images),), synchronize=lambda: None)
        warm[name] = timed, warm_up(timed, limits)
    figures = {}
    for name, samples in interleave(warm, limits).items():
        assert isinstance(samples, Samples)
        figures[name] = summarize(samples.parts[0])
    return figures


def times_faster(ours: Summary, peer: Summary) -> str:
    """The peer's time over ours, with its 95 % interval."""
    ratio = paired_ratio(peer.round_medians_ms, ours.round_medians_ms)
    return f"{ratio.value:.3f} ({ratio.low:.3f} – {ratio.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variant", default="t8")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--img-size", type=int, default=256)
    options = parser.parse_args()
    forwards, console = subjects(options.variant), Console()
    for batch_size in (1, 16):
        images = torch.randn(batch_size, 3, options.img_size, options.img_size)
        times = interleaved(forwards, images, options.iterations)
        rows = [(name, f"{ours.median_ms:.2f}", times_faster(ours, times[PEER])) for name, ours in times.items()]
        threads = torch.get_num_threads()
        title = f"fastvit_{options.variant}, batch {batch_size}, {threads} threads, torch {torch.__version__}"
        console.print(data_table(("form", "median ms", "× timm fused"), rows, title=title))


if __name__ == "__main__":
    main()
