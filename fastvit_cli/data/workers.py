"""The processes that read images: how many, which signals they heed, and their end."""

import contextlib
import gc
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader

from fastvit_cli.compat import hang_up_signal, let_workers_go
from fastvit_cli.devices import free_memory_mb, usable_cores
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.limits import open_files_left

MOST_BY_DEFAULT = 8
# A core decodes and crops some 250 photographs a second, and a GPU trains on thousands. Twice as many workers would
# take 3 GB of shared memory at 256 px in batches of 256.
MOST_BESIDE_A_GPU = 16
_GRACE_S = 120  # after a SIGTERM
_WORKERS_A_CORE = 4  # where they wait for a network more than they decode
_WORKER_MB = 250  # of one that was spawned, with a torch of its own; a forked one shares most of it
_FILES_A_WORKER, _FILES_KEPT = 8, 16  # pipes of training's two loaders; what else is open at a time


def most_workers(processes: int) -> tuple[int, str]:
    """How many one loader of each process may have, and what sets the bound."""
    cores, free = usable_cores() // processes, free_memory_mb(torch.device("cpu"))
    files = open_files_left()
    bounds = [(max(MOST_BY_DEFAULT, _WORKERS_A_CORE * cores), f"{cores} core{'' if cores == 1 else 's'}")]
    if free is not None:
        bounds.append((int(free / processes / _WORKER_MB), f"{free / 1024:.1f} GB of free memory"))
    if files is not None:
        bounds.append(((files - _FILES_KEPT) // _FILES_A_WORKER, "its limit of open files (ulimit -n)"))
    most, why = min(bounds)
    return max(0, most), why


def resolve_workers(workers: int | None, processes: int = 1, *, beside_gpu: bool = False) -> int:
    """`--workers`, or one fewer than this process's share of the cores it may use, at most 8, beside a GPU 16.

    Args:
        processes: of the run on this machine, which share it.
        beside_gpu: the cores have nothing else to do.

    Raises:
        FastViTError: more than the machine takes.
    """
    most, why = most_workers(processes)
    by_default = MOST_BESIDE_A_GPU if beside_gpu else MOST_BY_DEFAULT
    default = min(most, max(1, min(by_default, usable_cores() // processes - 1)))
    if workers is not None and workers > most:
        raise FastViTError(
            f"--workers {workers} is more than this machine takes: at most {most}, for {why}.",
            f"Pass --workers {most}{' or fewer' if most else ''}; without it there are {default}.",
        )
    return default if workers is None else workers


def prepare_worker(_: int) -> None:
    """What each process does before its first batch."""
    torch.set_num_threads(1)
    gc.freeze()  # collecting what was inherited would touch, and so copy, every page of it
    # Ctrl-C, a scheduler's SIGTERM and a closing terminal's SIGHUP reach the whole process group; only the main
    # process decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hang_up = hang_up_signal()
    if hang_up is not None:
        signal.signal(hang_up, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _outlive_the_first)


def end_workers(loader: DataLoader[Any]) -> None:
    """End those of a loader that is used no more."""
    for worker in let_workers_go(loader):
        if worker.is_alive():
            worker.kill()


def _outlive_the_first(_number: int, _frame: FrameType | None) -> None:
    """Leave the main process time to finish its step; another SIGTERM, such as Python's at exit, ends this one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "alarm"):  # not on Windows, whose processes get no such signal either
        signal.alarm(_GRACE_S)


@contextlib.contextmanager
def worker_death_explained(workers: int) -> Iterator[None]:
    """Around whatever uses a loader: torch raises the end of a worker in any line that the main process is at.

    Raises:
        WorkFailedError: a worker process was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise WorkFailedError(
            f"A process that reads images was killed by the system ({_how_it_died(error)}); "
            "most often the memory is used up.",
            f"Pass --workers below {workers} (0 reads in this process), or a smaller --batch-size.",
        ) from error


def _how_it_died(error: RuntimeError) -> str:
    """`signal: Killed` of torch's long message."""
    text = str(error)
    return text[text.index("signal:") :].split(".")[0] if "signal:" in text else "it ended without a word"
