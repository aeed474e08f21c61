"""Devices: which are there, which was meant, and waiting for them. The only place that knows MPS from CUDA."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fastvit_cli.compat import resource_module
from fastvit_cli.errors import FastViTError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

# CUDA and MPS; Windows; Linux; libraries of CUDA that allocate by themselves.
_OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "can't allocate memory"),
    *("cublas_status_alloc_failed", "cudnn_status_alloc_failed"),
)


def share_the_cores() -> None:
    """Let OpenMP threads that wait give up their core soon. Has an effect only before torch is imported.

    GNU's OpenMP spins for milliseconds by default, which starves the very thread it waits for when the cores are
    shared. Training t8 at 64 px on two cores, images/s alone and beside one busy process: default 70 and 18 (at worst
    7), 2000 spins 71 and 27, no spinning 44 and 45. Not for timing single images: between the many short operations
    threads fall asleep, and where the cores belong to a virtual machine, p90 of t8 was 120 ms in place of 57.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def usable_cores() -> int:
    """Cores that this process may use; fewer than the machine has in a container or under a scheduler."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device, or the machine, has no memory left; a CPU's is a plain RuntimeError."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(mark in text for mark in _OUT_OF_MEMORY)


def available_devices() -> list[str]:
    """Names that `--device` takes on this machine, the fastest first."""
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def cuda_devices(name: str) -> int:
    """How many CUDA devices `--device` leaves to several processes; 0 where it means something else."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() and name.strip().lower() != "cpu" else 0


def resolve_device(name: str, index: int = 0) -> "torch.device":
    """The device that `--device` names; `auto` is the fastest one present.

    Args:
        index: which of several GPUs is meant by a name without a number.

    Raises:
        FastViTError: no such device here; names those that are.
    """
    import torch

    present = available_devices()
    fastest = present[0].replace(":0", f":{index}")
    wanted = {"auto": fastest, "cuda": f"cuda:{index}"}.get(name.strip().lower(), name.strip().lower())
    if wanted not in present:
        raise FastViTError(
            f"There is no device '{name}' on this machine.", f"Pass --device with one of: {', '.join(present)}."
        )
    return torch.device(wanted)


def use_device(name: str, index: int = 0, *, tf32: bool = False) -> "torch.device":
    """`resolve_device`, and make it the one that this process computes on.

    What asks CUDA for no device in particular, such as a compiled kernel or pinned memory, would use the first one.

    Args:
        tf32: multiply float32 numbers of CUDA devices with 10 bits of mantissa, in convolutions and matrix products
            alike; torch itself does so in convolutions alone.
    """
    import torch

    device = resolve_device(name, index)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return device


def supports_float64(device: "torch.device") -> bool:
    """Whether the device computes in double precision; MPS does not."""
    return device.type != "mps"


def autocast_dtype(device: "torch.device") -> "torch.dtype":
    """What `--amp` computes in: bfloat16, or float16 on CUDA devices that lack it."""
    import torch

    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def synchronize(device: "torch.device") -> None:
    """Wait until everything queued on the device is done; a CPU queues nothing."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def runs_ahead(device: "torch.device") -> bool:
    """Whether the host queues a step while the device is at the one before, of which it then reads the loss."""
    return device.type == "cuda"


def start_reading(numbers: "Tensor") -> "Callable[[], list[float]]":
    """Begin to copy a few numbers to the host; what is returned waits for them, not for what is queued later."""
    import torch

    if numbers.device.type != "cuda":
        return numbers.to("cpu", non_blocking=True).tolist
    copied = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
    copied.copy_(numbers, non_blocking=True)
    there = torch.cuda.current_stream(numbers.device).record_event()

    def read() -> list[float]:
        there.synchronize()
        values: list[float] = copied.tolist()
        return values

    return read


def profiler_sees_kernels(device: "torch.device") -> bool:
    """Whether torch's profiler times what the device itself does, and not only the queueing of it."""
    return device.type == "cuda"


def reset_peak_memory(device: "torch.device") -> None:
    """Start counting the peak anew, where the device counts."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: "torch.device") -> float | None:
    """Peak memory in MiB: the device's own count on CUDA, current on MPS, the process's peak on a CPU.

    None where the system does not tell.
    """
    import sys

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / 2**20
    resource = resource_module()
    if resource is None:
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def free_memory_mb(device: "torch.device") -> float | None:
    """Memory in MiB that more could be put into: the device's, or on a CPU what the system could give this process.

    None where the system does not tell.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    if device.type == "mps":
        return (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()) / 2**20
    return _free_system_memory_mb(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))


def _free_system_memory_mb(meminfo: Path, cgroup: Path) -> float | None:
    """What Linux calls available, or what the container has left, where it has less; half of it all on macOS."""
    try:
        if not meminfo.is_file():
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**21
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) / 2**10
        limit, used = (cgroup / "memory.max", cgroup / "memory.current")
        if limit.is_file() and limit.read_text().strip() != "max":
            # Pages of files that were read count as used, and are given up as soon as anything else needs the memory.
            kinds = dict(line.split(" ", 1) for line in (cgroup / "memory.stat").read_text().splitlines())
            given_up = int(kinds["inactive_file"]) + int(kinds["active_file"])
            free = min(free, (int(limit.read_text()) - int(used.read_text()) + given_up) / 2**20)
    except (AttributeError, KeyError, OSError, ValueError):
        return None
    return free


def release_memory(device: "torch.device") -> None:
    """Give back what is held for nothing any more."""
    import gc

    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def describe_device(device: "torch.device") -> str:
    """What a person calls the device, such as `cuda:0 (NVIDIA H100)`."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)
