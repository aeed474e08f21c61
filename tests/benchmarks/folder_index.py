"""What 1.3 million file names cost: seconds to open them, and memory in each worker process.

    python tests/benchmarks/folder_index.py

Linux only (it reads /proc). Writes about 60 MB and 100,000 empty files below the temporary folder, and removes them.
"""

import argparse
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fastvit_cli.data.class_folders import Listing, list_class_folders, stamp
from fastvit_cli.data.folder_index import load_index, open_indexed, save_index
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames
from fastvit_cli.ui.tables import data_table

STEP = 999_983  # a prime: every step-th name, round and round, touches all in scattered order, and costs no memory


def synthetic_split(root: Path, classes: int, images: int) -> Listing:
    """The class folders on disk, last changed a minute ago, and names for files in them that are not."""
    names = tuple(f"n{1_440_764 + number:08d}" for number in range(classes))
    then = time.time() - 60
    for name in names:
        (root / name).mkdir(parents=True)
        os.utime(root / name, (then, then))
    os.utime(root, (then, then))
    labels = np.sort(np.arange(images, dtype=np.int32) % classes)
    files = PackedNames.of(f"{names[label]}/{names[label]}_{i}.JPEG" for i, label in enumerate(labels.tolist()))
    directories = (".", *names)
    stamps = np.array([stamp((root / directory).stat()) for directory in directories])
    return Listing(ImageFolder(root, names, files, labels), PackedNames.of(directories), stamps)


def private_mb() -> float:
    """Memory of this process that no other one shares, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))) / 1e3


def read_all(names: Sequence[str] | PackedNames, barrier: Any, results: Any) -> None:
    """In a worker: read every name, wait for the others, and report memory and seconds."""
    started = time.perf_counter()
    for i in range(len(names)):
        names[i * STEP % len(names)]
    seconds = time.perf_counter() - started
    barrier.wait()
    used = private_mb()
    barrier.wait()  # nobody leaves before all have looked: pages of those who left would count as private
    results.put((used, seconds))


def in_workers(names: Sequence[str] | PackedNames, method: str, workers: int) -> tuple[float, float, float]:
    """Median private MB and seconds of the workers, and seconds until all were started."""
    context: Any = multiprocessing.get_context(method)
    barrier, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=read_all, args=(names, barrier, results)) for _ in range(workers)]
    started = time.perf_counter()
    for process in processes:
        process.start()
    start_seconds = time.perf_counter() - started
    used, seconds = zip(*(results.get() for _ in processes), strict=True)
    for process in processes:
        process.join()
    return float(np.median(used)), float(np.median(seconds)), start_seconds


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def memory_of_workers(console: Console, folder: Path, images: int, workers: int) -> None:
    listing = synthetic_split(folder, 1000, images)
    as_list = list(listing.images.files)
    saved, save_seconds = timed(lambda: save_index(listing, time.time_ns()))
    opened, open_seconds = timed(lambda: load_index(folder))
    assert saved
    assert opened is not None
    assert opened.files[images // 2] == as_list[images // 2]
    console.print(f"{images:,} names, 1000 folders: saved in {save_seconds:.3f} s, opened in {open_seconds:.3f} s")
    rows = []
    for name in ("nothing", "the index", "a list of str"):
        names: Sequence[str] | PackedNames = {"nothing": [], "the index": opened.files, "a list of str": as_list}[
            name
        ]
        for method in ("fork", "spawn"):
            gc.collect()
            used, seconds, start_seconds = in_workers(names, method, workers)
            per_name = f"{seconds / images * 1e6:.2f}" if names else "–"
            rows.append((name, method, f"{used:.1f}", per_name, f"{start_seconds:.2f}"))
    header = ("workers read", "started by", "private MB each", "µs a name", "s to start all")
    console.print(data_table(header, rows, title=f"{workers} workers, {images:,} names in scattered order"))


def real_tree(console: Console, folder: Path, classes: int = 100, each: int = 1000) -> None:
    for name in range(classes):
        (folder / f"{name:03d}").mkdir(parents=True)
        for number in range(each):
            os.close(os.open(folder / f"{name:03d}" / f"{number:06d}.jpg", os.O_CREAT | os.O_WRONLY))
    time.sleep(2.5)  # folders as young as the listing are not indexed
    _, list_seconds = timed(lambda: list_class_folders(folder).images)
    _, first_seconds = timed(lambda: open_indexed(folder))
    _, again_seconds = timed(lambda: open_indexed(folder))
    console.print(
        f"{classes * each:,} real files in {classes} folders: listed in {list_seconds:.3f} s, "
        f"listed and indexed in {first_seconds:.3f} s, opened again in {again_seconds:.4f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1_300_000)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        real_tree(console, Path(temporary) / "real")
        memory_of_workers(console, Path(temporary) / "train", options.images, options.workers)


if __name__ == "__main__":
    main()
