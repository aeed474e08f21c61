"""What the machine can do at best: the floating-point operations a second of a matrix product."""

import time

import torch

from fastvit_cli.devices import synchronize

_SIZE = {"cpu": 1024}  # fits the caches of a core and is long enough for several
_SIZE_OF_ACCELERATORS = 4096
_SECONDS = 0.3
_LEAST_PRODUCTS = 3


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """FLOP/s of the fastest of some square matrix products; None where the device cannot multiply that type.

    A multiply-add counts as two.
    """
    size = _SIZE.get(device.type, _SIZE_OF_ACCELERATORS)
    try:
        left = torch.ones(size, size, dtype=dtype, device=device)
        product = torch.empty_like(left)
        best, count, begin = float("inf"), 0, time.perf_counter()
        while count < _LEAST_PRODUCTS or time.perf_counter() - begin < _SECONDS:
            synchronize(device)
            started = time.perf_counter()
            torch.mm(left, left, out=product)
            synchronize(device)
            best = min(best, time.perf_counter() - started)
            count += 1
    except (RuntimeError, MemoryError):
        return None
    return 2 * size**3 / best
