"""Where the time goes in PyTorch: torch's own profiler, with a range around every module."""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from fastvit_cli.devices import profiler_sees_kernels, synchronize
from fastvit_cli.runtimes.profile import LayerTime, OperationTime, Profile

_STEPS = 5
_LAYER = "layer "
# What a reader of the trace needs not know of the machine it was made on.
_PRIVATE = ("traceName", "hostname", "host_name", "username")


def profile_torch(
    network: Callable[[Tensor], Any], images: Tensor, device: torch.device, label: str
) -> tuple[Profile, str]:
    """Run a few steps under the profiler.

    Times are of the device's kernels where the profiler sees them, else of the CPU, which on other GPUs only queues
    the work. They are longer than without the profiler, which costs some microseconds an operation and a module. A
    compiled network has no layers.

    Args:
        network: a module, or a compiled one.
        images: on the device.
    """
    layers = _layers(network)
    kernels = profiler_sees_kernels(device)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if kernels else [])
    with torch.inference_mode(), _ranges(layers):
        network(images)
        synchronize(device)
        with profile(activities=activities) as recorded:
            for _ in range(_STEPS):
                network(images)
            synchronize(device)
    clock, what = "cpu_time_total", "time on the CPU" if device.type == "cpu" else "time on the CPU to queue the work"
    if kernels:
        clock, what = "device_time_total", "time of the device's kernels"
    of_layer: defaultdict[str, float] = defaultdict(float)
    of_operation: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for event in recorded.events() or ():
        if event.name.startswith(_LAYER):
            of_layer[event.name.removeprefix(_LAYER)] += getattr(event, clock)
        elif event.cpu_parent is None or event.cpu_parent.name.startswith(_LAYER):
            of_operation[event.name.removeprefix("aten::")] += getattr(event, clock)
            calls[event.name.removeprefix("aten::")] += 1
    total = sum(of_operation.values()) or 1.0
    to_ms = 1e-3 / _STEPS  # the profiler counts microseconds
    found = Profile(
        label=label,
        method=f"torch.profiler, {_STEPS} steps, {what}",
        step_ms=of_layer[""] * to_ms if layers else total * to_ms,
        layers=tuple(
            LayerTime(name, type(module).__name__, of_layer[name] * to_ms)
            for name, module in layers.items()
            if name in of_layer
        ),
        operations=tuple(
            OperationTime(kind, calls[kind] // _STEPS, time * to_ms, time / total)
            for kind, time in sorted(of_operation.items(), key=lambda item: -item[1])
            if calls[kind] >= _STEPS
        ),
    )
    return found, _chrome_trace(recorded)


def _layers(network: Callable[[Tensor], Any]) -> dict[str, nn.Module]:
    compiled = hasattr(network, "_orig_mod")
    return dict(network.named_modules()) if isinstance(network, nn.Module) and not compiled else {}


@contextmanager
def _ranges(layers: dict[str, nn.Module]) -> Iterator[None]:
    """A named range in the profile around every call of these modules."""
    open_ranges: list[record_function] = []
    hooks = []

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            open_ranges.append(record_function(_LAYER + name))
            open_ranges[-1].__enter__()

        return hook

    def leave(*_: object) -> None:
        open_ranges.pop().__exit__(None, None, None)

    for name, module in layers.items():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _chrome_trace(recorded: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        document = json.loads(path.read_text(encoding="utf-8"))
    for key in _PRIVATE:
        document.pop(key, None)
    return json.dumps(document)
