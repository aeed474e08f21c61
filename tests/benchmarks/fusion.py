"""What fusing buys: unfused, branches fused, all fused, and timm fused its way, interleaved in one run.

    python tests/benchmarks/fusion.py --variant t8 --rounds 40

Every round runs each subject once, in a new order, so that a slow moment of the machine hits all of them; the ratios
are of times within a round. Printed: median time, and the median ratio to timm's with a 95 % bootstrap interval.
"""

import argparse
import random
import time
from collections.abc import Callable

import numpy as np
import timm
import torch
from rich.console import Console
from torch import Tensor

from fastvit_cli import create_model, reparameterize
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
def interleaved(forwards: dict[str, Forward], images: Tensor, rounds: int, warm_up: int = 5) -> dict[str, np.ndarray]:
    """Milliseconds (rounds,) of each subject."""
    order, shuffle = list(forwards), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in forwards}
    for number in range(warm_up + rounds):
        shuffle.shuffle(order)
        for name in order:
            started = time.perf_counter_ns()
            forwards[name](images)
            if number >= warm_up:
                times[name].append((time.perf_counter_ns() - started) / 1e6)
    return {name: np.array(samples) for name, samples in times.items()}


def ratio_interval(times: np.ndarray, peer: np.ndarray) -> tuple[float, float, float]:
    """Median of the peer's time over ours, round by round, and its 95 % bootstrap interval."""
    ratios = peer / times
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variant", default="t8")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--img-size", type=int, default=256)
    options = parser.parse_args()
    forwards, console = subjects(options.variant), Console()
    for batch_size in (1, 16):
        images = torch.randn(batch_size, 3, options.img_size, options.img_size)
        times = interleaved(forwards, images, options.rounds)
        rows = []
        for name, samples in times.items():
            ratio, low, high = ratio_interval(samples, times[PEER])
            rows.append((name, f"{np.median(samples):.2f}", f"{ratio:.3f}", f"{low:.3f} – {high:.3f}"))
        threads = torch.get_num_threads()
        title = f"fastvit_{options.variant}, batch {batch_size}, {threads} threads, torch {torch.__version__}"
        console.print(data_table(("form", "median ms", "× timm fused", "95 % interval"), rows, title=title))


if __name__ == "__main__":
    main()
