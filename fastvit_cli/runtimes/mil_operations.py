"""The operations that our Core ML exports and Apple's published FastViT packages consist of, computed by PyTorch.

Names, arguments and defaults are those of Apple's MIL (coremltools.converters.mil.mil.ops.defs).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fastvit_cli.errors import FastViTError


def _padding(
    size: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], pad_type: str, pad: tuple[int, ...]
) -> list[int]:
    """Zeros around an image, as `F.pad` takes them: left, right, top, bottom.

    Args:
        size: height and width of the image.
        kernel: height and width that the window covers, dilation included.
    """
    if pad_type == "custom":
        top, bottom, left, right = pad
        return [left, right, top, bottom]
    if pad_type == "valid":
        return [0, 0, 0, 0]
    if pad_type not in ("same", "same_lower"):
        raise FastViTError(f"The Core ML program pads by '{pad_type}'.", "Export the model again.")
    sides: list[int] = []
    for length, window, stride in zip(reversed(size), reversed(kernel), reversed(strides), strict=True):
        total = max((-(-length // stride) - 1) * stride + window - length, 0)
        small, large = total // 2, total - total // 2
        sides += [small, large] if pad_type == "same" else [large, small]
    return sides


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
    window = tuple((side - 1) * step + 1 for side, step in zip(weight.shape[2:], dilations, strict=True))
    x = F.pad(x, _padding(tuple(x.shape[2:]), window, strides, pad_type, pad))
    return F.conv2d(x, weight, bias, strides, dilation=dilations, groups=groups)


def _avg_pool(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...] = (1, 1),
    pad_type: str = "valid",
    pad: tuple[int, ...] = (0, 0, 0, 0),
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    if ceil_mode:
        raise FastViTError("The Core ML program pools with ceil_mode.", "Export the model without it.")
    sides = _padding(tuple(x.shape[2:]), kernel_sizes, strides, pad_type, pad)
    mean = F.avg_pool2d(F.pad(x, sides), kernel_sizes, strides)
    if exclude_padding_from_average:
        mean = mean / F.avg_pool2d(F.pad(torch.ones_like(x), sides), kernel_sizes, strides)
    return mean


def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=float(epsilon))


def _gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise FastViTError(f"The Core ML program uses a GELU of mode '{mode}'.", "Export the model again.")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def _matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def _split(
    x: Tensor, axis: int, split_sizes: tuple[int, ...] | None = None, num_splits: int | None = None
) -> tuple[Tensor, ...]:
    sizes = [x.shape[axis] // num_splits] * num_splits if num_splits else list(split_sizes or ())
    return torch.split(x, sizes, axis)


def _squeeze(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes)


def _reduce_mean(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
    return x.mean(axes, keepdim=keep_dims)


def _add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def _sub(x: Tensor, y: Tensor) -> Tensor:
    return x - y


def _mul(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def _reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])  # 0 copies a side


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


def _cast(x: Tensor, dtype: str) -> Tensor:
    if dtype not in ("fp16", "fp32"):
        raise FastViTError(f"The Core ML program casts to {dtype}.", "Export the model in float16 or float32.")
    return x  # the evaluator rounds every output to its type


def _quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: int | tuple[int, ...] = 0,
    axis: int = 0,
) -> Tensor:
    low, high = {"int8": (-128, 127), "uint8": (0, 255)}[output_dtype]
    steps = (input / _along(scale, axis, input.ndim)).round() + _along(zero_point, axis, input.ndim)
    return steps.clamp(low, high)  # whole numbers, in float32


def _dequantize(input: Tensor, scale: Tensor, zero_point: int | tuple[int, ...] = 0, axis: int = 0) -> Tensor:
    return (input - _along(zero_point, axis, input.ndim)) * _along(scale, axis, input.ndim)


def _along(values: object, axis: int, ndim: int) -> Tensor:
    """One value for all, or one for each position of an axis, so that it broadcasts."""
    tensor = torch.as_tensor(values, dtype=torch.float32)
    if tensor.ndim == 0:
        return tensor
    shape = [1] * ndim
    shape[axis] = -1
    return tensor.reshape(shape)


OPERATIONS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "add": _add,
    "avg_pool": _avg_pool,
    "batch_norm": _batch_norm,
    "cast": _cast,
    "conv": _conv,
    "dequantize": _dequantize,
    "gelu": _gelu,
    "linear": _linear,
    "matmul": _matmul,
    "mul": _mul,
    "quantize": _quantize,
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
