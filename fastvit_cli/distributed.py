"""The processes of one run: which one this is, what they tell each other, and starting them.

`fastvit … --nproc-per-node 8` and `torchrun --nproc-per-node 8 -m fastvit_cli …` start the same processes; each finds
its place in the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE).
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from fastvit_cli.compat import gloo_on_stderr, hang_up_signal, launch_config
from fastvit_cli.devices import cuda_devices, resolve_device, usable_cores
from fastvit_cli.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_LOST_PEER,
    EXIT_TERMINATED,
    FastViTError,
    WorkFailedError,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

T = TypeVar("T")
_TIMEOUT_S = 600  # for what all do at the same time, and what the main process saves in between
_PATIENCE_S = 3600  # the others wait while the main process downloads or lists images
_TRIED_OUT = 2  # processes that a single core takes too: slow, but how a run of several is tried out
_SHUTDOWN_S = 30  # for the other processes, to finish a step and to save, before they are killed


@dataclass(frozen=True)
class World:
    """One process among those of a run; alone by default.

    Attributes:
        rank, size: its number and how many there are, over all nodes.
        local_rank, local_size: the same on this node.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    def all_reduce_sum(self, tensor: "Tensor") -> "Tensor":
        """The sum of every process's tensor, in place, the same on all."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def all_reduce_max(self, number: int) -> int:
        """The largest of every process's numbers; through the CPU, so that no device is waited for."""
        if self.size == 1:
            return number
        import torch
        import torch.distributed as dist

        shared = torch.tensor(number)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return int(shared)

    def all_gather(self, items: Iterable[T]) -> list[T]:
        """What all processes bring, the first one's before the second one's, the same on all."""
        mine = list(items)
        if self.size == 1:
            return mine
        import torch.distributed as dist

        parts: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, mine)
        return [item for part in parts for item in part]

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through the block before the others begin it: what it caches, they find."""
        if self.size == 1:
            yield
            return
        import torch.distributed as dist

        # Of gloo, which notices at once that the main process has ended; a GPU would be waited for until the end of
        # the time.
        with gloo_on_stderr():
            group = dist.new_group(backend="gloo", timeout=timedelta(seconds=_PATIENCE_S))
        assert not isinstance(group, int)  # which stands for a group that this process is not in
        if not self.is_main:
            dist.barrier(group)
        yield
        if self.is_main:
            dist.barrier(group)
        dist.destroy_process_group(group)


ALONE = World()


def find_world(environment: Mapping[str, str] = os.environ) -> World:
    """This process's place, alone where no launcher set one."""
    if not is_launched(environment):
        return ALONE
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    return World(rank, size, int(environment.get("LOCAL_RANK", rank)), int(environment.get("LOCAL_WORLD_SIZE", size)))


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun, or this program as a launcher, started this process."""
    return "RANK" in environment and "WORLD_SIZE" in environment


@contextlib.contextmanager
def joined(world: World, device: str) -> Iterator[None]:
    """Take part in the group while the block runs; nothing to do alone.

    Args:
        device: what `--device` names.

    Raises:
        FastViTError: see `check_local_devices`.
        LostPeerError: another process of the group has ended.
    """
    if world.size == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    check_local_devices(world.local_size, device)
    mine = resolve_device(device, world.local_rank) if cuda_devices(device) else None
    if mine is not None:
        torch.cuda.set_device(mine)
    backend = "gloo" if mine is None else "cpu:gloo,cuda:nccl"
    with lost_peers_named():
        # With its device NCCL connects now, and says now what is wrong; without, it would guess it from the rank.
        with gloo_on_stderr():
            dist.init_process_group(backend, timeout=timedelta(seconds=_TIMEOUT_S), device_id=mine)
        yield
        # Not after an error: with a process missing this would wait for it.
        dist.destroy_process_group()


def check_local_devices(processes: int, device: str) -> None:
    """Refuse more processes than this machine has room for.

    Args:
        device: what `--device` names.

    Raises:
        FastViTError: one GPU is named for several processes, there are fewer than processes, or without GPUs fewer
            cores.
    """
    present = cuda_devices(device)
    if present and processes > 1 and ":" in device:
        raise FastViTError(
            f"--device {device} is one device, and there are {processes} processes.",
            "Pass --device cuda: each process takes one, of those that CUDA_VISIBLE_DEVICES leaves.",
        )
    if 0 < present < processes:
        raise FastViTError(
            f"There are {processes} processes for {present} CUDA devices on this machine.",
            f"Pass --nproc-per-node {present}, or --device cpu.",
        )
    if present:
        return
    cores = usable_cores()
    most = max(cores, _TRIED_OUT)
    if processes > most:
        raise FastViTError(
            f"There are {processes} processes for {cores} core{'' if cores == 1 else 's'} of this machine.",
            f"Pass --nproc-per-node {most}, or fewer.",
        )


class LostPeerError(FastViTError):
    """Another process of the run is gone; what ended it is for that process, or for the launcher, to say."""

    exit_code = EXIT_LOST_PEER


@contextlib.contextmanager
def lost_peers_named() -> Iterator[None]:
    """Around whatever communicates.

    Raises:
        LostPeerError: the connection to another process broke.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise LostPeerError("Another process of the run has ended.", "See its own message.") from error


def _is_lost_connection(error: RuntimeError) -> bool:
    """gloo raises plain RuntimeErrors; NCCL's and the store's have a class of their own."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or any(
        mark in str(error) for mark in ("gloo/transport", "Connection closed by peer", "Connection reset by peer")
    )


def launch(words: Sequence[str], processes: int, device: str) -> int:
    """Run `fastvit WORDS` in several processes on this machine; the exit code of the whole.

    As soon as one fails the others are ended. The first one's output passes through.

    Args:
        device: what `--device` names.

    Raises:
        FastViTError: see `check_local_devices`; before any process is started.
        WorkFailedError: a process was killed or ended without a word.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    check_local_devices(processes, device)
    # Threads of all processes together for the cores there are; torchrun would give each a single one.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    config = launch_config(
        _SHUTDOWN_S,
        _signals_that_end(),
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="fastvit",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    if "--verbose" not in words:
        logging.disable(logging.ERROR)  # its account of a process's end, which is told in two lines below
    try:
        elastic_launch(config, sys.executable)("-m", "fastvit_cli", *words)
    except ChildFailedError as error:
        return _code_of(error.failures)
    except SignalException as stopped:
        return EXIT_INTERRUPTED if stopped.sigval == signal.SIGINT else EXIT_TERMINATED
    finally:
        logging.disable(logging.NOTSET)
    return EXIT_DONE


def _signals_that_end() -> list[str]:
    """As the launcher takes them; under nohup it would end the run with the terminal all the same."""
    hang_up = hang_up_signal()
    ignored = hang_up is None or signal.getsignal(hang_up) == signal.SIG_IGN
    names = ["SIGTERM", "SIGINT", "SIGQUIT", *([] if ignored else ["SIGHUP"])]
    return [name for name in names if hasattr(signal, name)]


def _code_of(failures: "Mapping[int, ProcessFailure]") -> int:
    """The exit code of the process that failed by itself; those that it took along do not count.

    Raises:
        WorkFailedError: it was killed, so that it could not say why.
    """
    own = {rank: one for rank, one in failures.items() if one.exitcode not in (EXIT_LOST_PEER, -signal.SIGTERM)}
    rank, first = min((own or failures).items(), key=lambda item: (item[1].timestamp, item[0]))
    if first.exitcode >= 0 and first.exitcode != EXIT_LOST_PEER:
        return first.exitcode  # it has printed its own error
    ended = f"was killed ({signal.Signals(-first.exitcode).name})" if first.exitcode < 0 else "lost the others"
    raise WorkFailedError(
        f"Process {rank} of the run {ended}; the others were ended.",
        "Most often memory is used up: pass a smaller --batch-size or fewer --workers. A run goes on with --resume.",
    )
