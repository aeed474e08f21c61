"""Devices: which are there, which was meant, and waiting for them. The only place that knows MPS from CUDA."""

import os
from typing import TYPE_CHECKING

from fastvit_cli.errors import FastViTError

if TYPE_CHECKING:
    import torch


def share_the_cores() -> None:
    """Let OpenMP threads that wait give up their core soon. Has an effect only before torch is imported.

    GNU's OpenMP spins for milliseconds by default, which starves the very thread it waits for when the cores are
    shared. Training t8 at 64 px on two cores, images/s alone and beside one busy process: default 70 and 18 (at worst
    7), 2000 spins 71 and 27, no spinning 44 and 45.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def available_devices() -> list[str]:
    """Names that `--device` takes on this machine, the fastest first."""
    import torch

    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_device(name: str) -> "torch.device":
    """The device that `--device` names; `auto` is the fastest one present.

    Raises:
        FastViTError: no such device here; names those that are.
    """
    import torch

    present = available_devices()
    wanted = {"auto": present[0], "cuda": "cuda:0"}.get(name.strip().lower(), name.strip().lower())
    if wanted not in present:
        raise FastViTError(
            f"There is no device '{name}' on this machine.", f"Pass --device with one of: {', '.join(present)}."
        )
    return torch.device(wanted)


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
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def describe_device(device: "torch.device") -> str:
    """What a person calls the device, such as `cuda:0 (NVIDIA H100)`."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)
