"""What `bench` times: a network or a file, bound to its device and images by an engine's `bind`."""

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import ENGINES, to_install
from fastvit_cli.runtimes.profile import Profile

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One thing to make runnable.

    Attributes:
        network: a copy of its own, fused as asked, in evaluation mode, float32, on the CPU; None for a file.
        path: of the file, or of the network in the format that the engine takes.
        info: with the image size that is timed.
        images: (B, 3, H, W), normalised, float32, on the CPU.
        threads: that one operation uses on a CPU.
    """

    label: str
    network: nn.Module | None
    path: Path | None
    info: ModelInfo
    device: torch.device
    dtype: torch.dtype
    images: Tensor
    channels_last: bool = False
    threads: int = 1
    compute_units: str | None = None
    seed: int = 0

    @property
    def file(self) -> Path:
        """The path, for an engine that takes files."""
        assert self.path is not None
        return self.path


@dataclass(frozen=True)
class Bound:
    """Something that runs.

    Attributes:
        parts: what to call, in this order, for one step.
        synchronize: waits for what they queued.
        failures: exceptions of this engine's library when it cannot run.
        device: where it really runs.
        size_bytes: of parameters and buffers, or of the file.
        load_ns, compile_ns: how long it took to get here; the second where it is a step of its own.
        profile: runs a few steps and says where their time went, with a Chrome trace.
    """

    parts: tuple[Step, ...]
    device: str
    size_bytes: int
    load_ns: int
    synchronize: Callable[[], None] = lambda: None
    failures: tuple[type[Exception], ...] = (RuntimeError, MemoryError)
    compile_ns: int | None = None
    profile: Callable[[], tuple[Profile, str | None]] | None = None


Bind = Callable[[Job], Bound]


def bind_of(engine: str) -> Bind:
    """An engine's `bind`, and its library loaded: neither its time nor its memory counts to the first subject.

    Raises:
        FastViTError: the library is not installed.
    """
    row = ENGINES[engine]
    if row.library is not None:
        try:
            importlib.import_module(row.library)
        except ImportError as error:
            wanted = to_install(row.library, row.extra)
            raise FastViTError(f"{row.library} is not installed: pip install {wanted}") from error
    bind: Bind = importlib.import_module(row.module).bind
    return bind


@dataclass
class Stopwatch:
    """Nanoseconds of a `with` block."""

    nanoseconds: int = field(default=0)

    @contextmanager
    def running(self) -> Iterator[None]:
        started = time.perf_counter_ns()
        try:
            yield
        finally:
            self.nanoseconds += time.perf_counter_ns() - started


def size_bytes(network: nn.Module) -> int:
    """Of parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
