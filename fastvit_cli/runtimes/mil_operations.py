"""The operations of Core ML programs that our exports consist of, computed by PyTorch.

Names, arguments and defaults are those of Apple's MIL (coremltools.converters.mil.mil.ops.defs).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fastvit_cli.errors import FastViTError


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: tuple[int, ...] = (1, 1),
    pad_type: str = "valid",
    pad: tuple[int, ...] = (0, 0, 0, 0),
    dilations: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> Tensor:
    if pad_type == "custom":
        top, bottom, left, right = pad
        x = F.pad(x, (left, right, top, bottom))
    elif pad_type != "valid":
        raise FastViTError(f"The Core ML program pads a convolution by '{pad_type}'.", "Export the model again.")
    return F.conv2d(x, weight, bias, strides, dilation=dilations, groups=groups)


def _gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise FastViTError(f"The Core ML program uses a GELU of mode '{mode}'.", "Export the model again.")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def _matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def _split(x: Tensor, split_sizes: tuple[int, ...], axis: int) -> tuple[Tensor, ...]:
    return torch.split(x, list(split_sizes), axis)


def _squeeze(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x.squeeze(axes)


def _reduce_mean(x: Tensor, axes: tuple[int, ...], keep_dims: bool = False) -> Tensor:
    return x.mean(axes, keepdim=keep_dims)


def _add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def _sub(x: Tensor, y: Tensor) -> Tensor:
    return x - y


def _mul(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def _reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(shape)


def _transpose(x: Tensor, perm: tuple[int, ...]) -> Tensor:
    return x.permute(perm)


def _softmax(x: Tensor, axis: int = -1) -> Tensor:
    return x.softmax(axis)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def _relu(x: Tensor) -> Tensor:
    return x.relu()


def _sigmoid(x: Tensor) -> Tensor:
    return x.sigmoid()


def _cast(x: Tensor, dtype: str) -> Tensor:  # noqa: ARG001 - the evaluator rounds every output to its type
    return x


OPERATIONS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "add": _add,
    "cast": _cast,
    "conv": _conv,
    "gelu": _gelu,
    "linear": _linear,
    "matmul": _matmul,
    "mul": _mul,
    "reduce_mean": _reduce_mean,
    "relu": _relu,
    "reshape": _reshape,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "split": _split,
    "squeeze": _squeeze,
    "sub": _sub,
    "transpose": _transpose,
}


def constant(value: object) -> object:
    """A MIL constant as the operations above take it: floats as float32 tensors, integers as int or tuple."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind == "f":
            return torch.from_numpy(np.array(value, dtype=np.float32))
        listed = value.tolist()
        return tuple(listed) if isinstance(listed, list) else listed
    return value
