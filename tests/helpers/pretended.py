"""A device that is not there: shapes, types and places without values, and a count of what the host waits for.

torch takes it for one of its own (PrivateUse1). Its tensors hold nothing, so that a whole train step takes seconds; a
tensor on another device, a shape that hangs on values, or a type that Apple's GPU lacks ends the step as it would end
there.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _foreach_utils, backend_registration
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

NAME = "pretended"
LACKING = (
    None
    if hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
    else f"torch {torch.__version__} takes no device that is written in Python; 2.11 does"
)
# Operators in place whose shapes torch does not know without running them.
_WITHOUT_SHAPES = ("_amp_foreach_non_finite_check_and_unscale_", "_fused_sgd_")
_LOWER_PRECISION = ("conv2d", "linear", "matmul", "scaled_dot_product_attention")  # of autocast's list, what we use


class _Backend:
    """What torch asks the module of a device for."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@functools.cache
def _registered() -> list[torch.library.Library]:
    """Tell torch of the device, once a process; the libraries are to be kept alive."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Backend())
    fall_through = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    fall_through.fallback(torch.library.fallthrough_kernel)
    casts = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for name in _LOWER_PRECISION:
        casts.impl(name, _in_lower_precision(getattr(torch.ops.aten, name).default))
    return [fall_through, casts]


def _in_lower_precision(operator: Callable[..., Any]) -> Callable[..., Any]:
    def cast(value: Any) -> Any:
        floats = isinstance(value, Tensor) and value.device.type == NAME and value.is_floating_point()
        return value.to(torch.get_autocast_dtype(NAME)) if floats else value

    def cast_first(*args: Any, **kwargs: Any) -> Any:
        keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operator(*pytree.tree_map(cast, args), **pytree.tree_map(cast, kwargs))

    return cast_first


class _Generator(torch.Generator):
    def __new__(cls, device: object = None) -> _Generator:  # noqa: ARG004 - of the CPU, whatever the device
        return super().__new__(cls)


class _Shapes(FakeTensorMode):
    avoid_device_init = True  # or known numbers would really be copied to the device

    def __deepcopy__(self, _memo: object) -> _Shapes:
        return self  # every tensor names it, and a copied network stays on the same device


class Pretended(TorchDispatchMode):
    """The device. What is on the CPU has values as ever; what comes there from the device is zeros.

    Attributes:
        has_float64: unlike Apple's GPU.
        waits: what the host waited for, such as `item`.
        copies: between host and device, that it waited for: the other ones do not count.
        launches: how often each operator was started on the device, views not counted.
        operators: all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device(NAME, 0)
        self.has_float64 = False
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.operators: set[str] = set()
        self._shapes = _Shapes(allow_non_fake_inputs=True)

    @contextlib.contextmanager
    def there(self) -> Iterator[None]:
        """While the block runs."""
        # Backward in this thread, or torch would want a thread for a device that it did not know at its first one.
        with self._shapes, self, torch.autograd.set_multithreading_enabled(False):
            yield

    def forget(self) -> None:
        """Count anew."""
        for counted in (self.waits, self.copies, self.launches, self.operators):
            counted.clear()

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        given = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        ours = [one for one in given if one.device.type == NAME]
        if not ours and torch.device(kwargs.get("device") or "cpu").type != NAME:
            with _disable_current_modes():
                return func(*args, **kwargs)
        if name == "_local_scalar_dense":
            self.waits["item"] += 1
            return 0.0 if given[0].is_floating_point() else 0
        if name.startswith("index") and any(one.dtype == torch.bool for one in _tensors(args[1:2])):
            self.waits["boolean index"] += 1
        out = None if name in _WITHOUT_SHAPES and len(ours) == len(given) else func(*args, **kwargs)
        made = [one for one in _tensors(out) if one.device.type == NAME]
        if not self.has_float64 and any(one.dtype in (torch.float64, torch.complex128) for one in made):
            raise TypeError(f"{name}: Apple's GPU has no float64")
        if name in ("_to_copy", "copy_") and len({one.device.type for one in (*given, *_tensors(out))}) > 1:
            waits = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
            self.copies["to the device" if made else "to the host"] += waits
            return out if made else _zeros_like(out)
        if (ours or made) and not name.startswith("prim::"):
            self.operators.add(f"{name}.{func._overloadname}")
            if not func.is_view and name != "detach":
                self.launches[name] += 1
        return out


def _zeros_like(tensor: Tensor) -> Tensor:
    shape, dtype = tensor.shape, tensor.dtype
    with _disable_current_modes():
        return torch.zeros(shape, dtype=dtype)


def _tensors(tree: Any) -> list[Tensor]:
    return [one for one in pytree.tree_leaves(tree) if isinstance(one, Tensor)]


def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """The device, and what torch needs to take it for one, until the test ends."""
    _registered()
    device, tolist = Pretended(), FakeTensor.tolist

    def counted_once(tensor: Tensor) -> Any:
        before = device.waits["item"]
        values = tolist(tensor)
        device.waits["item"] = min(device.waits["item"], before + 1)
        return values

    def apply(module: nn.Module, move: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        for child in module.modules() if recurse else (module,):
            for name, one in child._parameters.items():
                if one is not None:
                    child._parameters[name] = nn.Parameter(move(one.detach()), one.requires_grad)
            for name, one in child._buffers.items():
                if one is not None:
                    child._buffers[name] = move(one)
        return module

    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(_foreach_utils, "_foreach_supported_types", [Tensor, nn.Parameter, FakeTensor])
    monkeypatch.setattr(FakeTensor, "tolist", counted_once)
    monkeypatch.setattr(nn.Module, "_apply", apply)
    monkeypatch.setattr(torch._C, "_InferenceMode", lambda _: torch.no_grad())  # its tensors pass the device by
    return device


@functools.cache
def _kernels() -> dict[str, dict[str, Any]]:
    """Every operator of torch, `name.overload`, as torch's own list has it."""
    import torchgen

    path = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    entries = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {entry["func"].split("(")[0]: entry for entry in entries}


def without_mps_kernel(operators: Iterable[str]) -> list[str]:
    """Those of the operators that Apple's GPU has no kernel for, and that are not made of others."""
    lacking = []
    for name in operators:
        entry = _kernels()[name.removesuffix(".default").removesuffix(".")]
        delegate = entry.get("structured_delegate")
        keys = {key.strip() for row in _dispatch(entry, delegate) for key in row.split(",")}
        composite = not keys or any(key.startswith("Composite") for key in keys)
        if not composite and not any(key.startswith("MPS") for key in keys):
            lacking.append(name)
    return sorted(lacking)


def _dispatch(entry: dict[str, Any], delegate: str | None) -> list[str]:
    return list((entry if delegate is None else _kernels()[delegate]).get("dispatch", {}))
