"""What several processes cost: the steps of a pair that adds up its gradients, beside a pair that does not.

    python tests/benchmarks/distributed.py [--variant t8] [--img-size 128] [--batch-size 16] [--steps 8] [--rounds 7]

Both pairs share the machine in the same way, one thread a process, so that what is left between them is the adding up
of gradients, statistics and scores. On a machine with several GPUs the processes take one each, and a single process
alone shows the scaling. Ratios are taken within a round.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import torch
from rich.console import Console

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.loader import Batch
from fastvit_cli.devices import resolve_device, synchronize
from fastvit_cli.distributed import ALONE, World, joined
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import Rates, TrainStep
from fastvit_cli.ui.tables import data_table


def steps(options: argparse.Namespace, world: World, together: Barrier, seconds: "Queue[float]") -> None:
    """Time a number of updates of one process after two that warm it up."""
    torch.set_num_threads(1)
    device = resolve_device(options.device, world.local_rank)
    torch.manual_seed(0)
    network = create_model(options.variant)
    info = ModelInfo(
        options.variant, "unfused", network.num_classes, default_preprocessing(get_variant(options.variant))
    )
    train_step = TrainStep(
        TrainConfig(variant=options.variant, batch_size=options.batch_size), network, info, device, world=world
    )
    train_step.network.train()
    size = options.img_size
    batch = Batch(
        torch.randint(0, 256, (options.batch_size, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2),
        torch.randint(0, network.num_classes, (options.batch_size,)),
        indices=(),
    )
    for number in range(2 + options.steps):
        if number == 2:
            synchronize(device)
            together.wait()
            started = time.perf_counter()
        train_step.update((batch,), Rates(1e-3, None), 0, number, number)
    synchronize(device)
    seconds.put(time.perf_counter() - started)


def process(options: argparse.Namespace, world: World, port: int, together: Barrier, seconds: "Queue[float]") -> None:
    """One process, alone or in a group."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(world.rank), "WORLD_SIZE": str(world.size), "LOCAL_RANK": str(world.local_rank)}
    with joined(world, options.device):
        steps(options, world, together, seconds)


def images_per_second(options: argparse.Namespace, worlds: list[World]) -> float:
    """All processes started together; images of all over the time of the slowest."""
    context = multiprocessing.get_context("spawn")
    together, seconds = context.Barrier(len(worlds)), context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = [context.Process(target=process, args=(options, world, port, together, seconds)) for world in worlds]
    for child in children:
        child.start()
    slowest = max(seconds.get() for _ in children)
    for child in children:
        child.join()
    return len(worlds) * options.steps * options.batch_size / slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="t8")
    parser.add_argument("--img-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    count = options.processes
    subjects = {
        "one process": [ALONE],
        f"{count} that do not know each other": [World(0, 1, rank, count) for rank in range(count)],
        f"{count} that train together": [World(rank, count, rank, count) for rank in range(count)],
    }
    speeds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(options.rounds):
        for name, worlds in subjects.items():
            speeds[name].append(images_per_second(options, worlds))
        Console(stderr=True).print(f"round {number + 1} of {options.rounds}")
    one, apart, together = speeds.values()
    rows = []
    for name, found in speeds.items():
        to_one = sorted(mine / single for mine, single in zip(found, one, strict=True))
        rows.append((name, f"{statistics.median(found):.1f}", _ratio(to_one)))
    Console().print(data_table(("processes", "images/s", "times one"), rows))
    overhead = sorted(mine / other for mine, other in zip(apart, together, strict=True))
    Console().print(f"Overhead of training together: {_ratio(overhead)} times the time.")


def _ratio(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({values[0]:.2f}-{values[-1]:.2f})"


if __name__ == "__main__":
    main()
