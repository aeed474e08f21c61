"""What we use of other libraries beyond what they promise: private names, and what differs between their versions.

Each has a function here, and a test of its name that fails when a library changes. A function looks at what is there,
never at a version number. `ui.console.Terminal` alone stands elsewhere: it overrides rich's `Console._check_buffer`.
"""

import contextlib
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from torch import Tensor, nn
    from torch.distributed.launcher.api import LaunchConfig
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader

# Python and the system


def resource_module() -> Any:
    """The limits and the memory of this process; None on Windows, which has no such module."""
    try:
        import resource
    except ImportError:
        return None
    return resource


def file_locks() -> Any:
    """POSIX's locks; None on Windows, which has no such module."""
    try:
        import fcntl
    except ImportError:
        return None
    return fcntl


def hang_up_signal() -> signal.Signals | None:
    """SIGHUP, which a terminal that closes sends; None on Windows, which has none."""
    return getattr(signal, "SIGHUP", None)


def coremltools_advice() -> str:
    """How to get coremltools: it has wheels for macOS and for Linux on x86-64, and none for Python 3.14 (9.0)."""
    import platform

    has_wheel = sys.platform == "darwin" or (sys.platform == "linux" and platform.machine() == "x86_64")
    if has_wheel and sys.version_info < (3, 14):
        return "Run: pip install coremltools"
    return "There is none for this machine: use macOS or Linux on x86-64, with Python 3.11 to 3.13."


# typer


def usage_error() -> type[Any]:
    """The base of the errors of a wrong command line: Typer's own since 0.27, before that click's."""
    import typer

    (base,) = (kind for kind in typer.BadParameter.__mro__ if Exception in kind.__bases__)
    return base


# torch


def antialiased_resize(interpolation: str) -> Callable[..., "Tensor"]:
    """The operator behind `interpolate(antialias=True)`: it alone takes a scale beside the size of the output."""
    import torch

    names = {"bicubic": "_upsample_bicubic2d_aa", "bilinear": "_upsample_bilinear2d_aa"}
    operator: Callable[..., Tensor] = getattr(torch.ops.aten, names[interpolation])
    return operator


def copy_all(targets: "Sequence[Tensor]", sources: "Sequence[Tensor]") -> None:
    """Copy many small tensors in one call; torch's functions for whole lists are private."""
    import torch

    torch._foreach_copy_(list(targets), list(sources))


def storage_key(tensor: "Tensor") -> int:
    """Which storage a tensor lies in: one without data, on the meta device, has no address to go by."""
    from torch.multiprocessing.reductions import StorageWeakRef

    key: int = StorageWeakRef(tensor.untyped_storage()).cdata
    return key


def let_workers_go(loader: "DataLoader[Any]") -> "list[BaseProcess]":
    """Tell a loader's processes to end, and take them from it: torch has no public word for that."""
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    iterator, loader._iterator = loader._iterator, None
    if not isinstance(iterator, _MultiProcessingDataLoaderIter):
        return []
    with contextlib.suppress(RuntimeError):  # no thread can be started, through which they would be told
        iterator._shutdown_workers()
    return list(iterator._workers)


def every_operation(handle: Callable[[Any, Any, Any], Any]) -> AbstractContextManager[Any]:
    """Call `handle(operator, args, kwargs)` in the place of every tensor operation of the block.

    torch's own counter of operations starts torch.compile's machinery, which takes longer to import than a command
    needs for its work.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # nothing is compiled inside; a torch without this switch only imports more

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return handle(func, args, kwargs or {})

    mode: AbstractContextManager[Any] = Mode()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return mode


def counted_as(operator: Any) -> Any:
    """The operator whose formula counts this one: attention on a CPU has none of its own in torch 2.8."""
    import torch

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return torch.ops.aten._scaled_dot_product_flash_attention if operator is on_cpu else operator


def averaged_gradients(network: "nn.Module", device_ids: list[int] | None) -> "DistributedDataParallel":
    """The network over several processes, without a second copy of the gradients.

    Buffers are left alone; the argument for that has had two names.
    """
    from torch.nn.parallel import DistributedDataParallel

    has_new_name = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    left_alone = {"forward_sync_buffers" if has_new_name else "broadcast_buffers": False}
    return DistributedDataParallel(
        network,
        device_ids=device_ids,
        gradient_as_bucket_view=True,
        **left_alone,  # type: ignore[arg-type]  # by name
    )


@contextlib.contextmanager
def gloo_on_stderr() -> Iterator[None]:
    """Around what connects processes: gloo says on standard output that it did, where the result goes (torch 2.8)."""
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    sys.stdout.flush()
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def launch_config(shutdown_timeout: int, signals: Sequence[str], **options: Any) -> "LaunchConfig":
    """torchrun's options; one that knows no time to shut down takes 30 s, and no choice of signals all four.

    Args:
        shutdown_timeout: seconds for the processes to end by themselves.
        signals: that end the run, by name.
    """
    from torch.distributed.launcher.api import LaunchConfig

    known = inspect.signature(LaunchConfig).parameters
    wanted: dict[str, Any] = {"shutdown_timeout": shutdown_timeout, "signals_to_handle": ",".join(signals)}
    if "signals_to_handle" not in known:
        _leave_other_signals_alone(signals)
    return LaunchConfig(**options, **{name: value for name, value in wanted.items() if name in known})


def _leave_other_signals_alone(signals: Sequence[str]) -> None:
    """Make the launcher's handler of four signals heed only these: under nohup it would end with the terminal."""
    from torch.distributed.elastic.multiprocessing import api as launcher

    handler = launcher._terminate_process_handler

    def heed(number: int, frame: FrameType | None) -> None:
        if signal.Signals(number).name in signals:
            handler(number, frame)

    launcher._terminate_process_handler = heed  # type: ignore[assignment]  # but for the names of its arguments


# timm


def replace_operations(policy: Any, replacement: Callable[[Callable[..., Any]], Callable[..., Any]]) -> bool:
    """Put others in the place of the functions that a policy draws from; whether it has a table of them."""
    from timm.data.auto_augment import AugMixAugment, AutoAugment, RandAugment

    if isinstance(policy, RandAugment | AugMixAugment):
        operations = list(policy.ops)
    elif isinstance(policy, AutoAugment):
        operations = [operation for sub_policy in policy.policy for operation in sub_policy]
    else:
        return False
    for operation in operations:
        operation.aug_fn = replacement(operation.aug_fn)
    return True


def random_crop(height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Any:
    """Top, left, height and width of the crop that timm draws; it asks an image for nothing but its size."""
    import torch
    from timm.data.transforms import RandomResizedCropAndInterpolation

    shape = torch.empty((3, height, width), device="meta")
    return RandomResizedCropAndInterpolation.get_params(shape, scale, ratio)


# coremltools


def mil_program(model: Any) -> Any:
    """The program of a model that was just converted, whose layers are compressed one by one."""
    return model._mil_program


def read_mil_program(model: Any) -> tuple[Any, Any]:
    """The specification of a saved model, and its program with the weights."""
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = model.get_spec()
    return spec, load(spec, spec.specificationVersion, file_weights_dir=model.weights_dir)


# ONNX Runtime


_measured_ranges: dict[Path, Any] = {}  # of this process, by the file that they would be in


def quantize_with_ranges(model: Any, output: Path, reader: Any, ranges: Path, **options: Any) -> None:
    """`quantize_static`, measuring the activations once for all calls with the same file of `ranges`.

    Before 1.30 it measures anew each time, which takes minutes where the layers of a model are tried one by one.
    """
    quantize: Any = import_module("onnxruntime.quantization.quantize")

    if "calibration_cache_path" in inspect.signature(quantize.quantize_static).parameters:
        quantize.quantize_static(model, output, reader, **options, calibration_cache_path=ranges)
        return
    create = quantize.create_calibrator

    def create_once(*args: Any, **kwargs: Any) -> Any:
        calibrator, known = create(*args, **kwargs), _measured_ranges.get(ranges)
        compute = calibrator.compute_data
        if known is not None:
            calibrator.collect_data = lambda _: None
        calibrator.compute_data = lambda: _measured_ranges.setdefault(ranges, known or compute())
        return calibrator

    quantize.create_calibrator = create_once
    try:
        quantize.quantize_static(model, output, reader, **options)
    finally:
        quantize.create_calibrator = create


# webdataset


def shard_name_parts(name: str) -> tuple[str | None, str]:
    """The sample that a member of a shard belongs to, and what it is of it, as webdataset parts them."""
    parts: Callable[[str], tuple[str | None, str]] = import_module("webdataset.tariterators").base_plus_ext
    return parts(name)
