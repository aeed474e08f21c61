"""The operations of Core ML programs: each in a small program as coremltools builds it, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.coreml_evaluator import execute, prepare
from fastvit_cli.runtimes.mil_operations import OPERATIONS, constant

Made = tuple[tuple[int, ...], Callable[[Any, Any], Any], Callable[[Tensor], Any]]
"""Shape of the input; the operation, by the builder and the input; the same by PyTorch."""


def _floats(random: np.random.RandomState, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return random.standard_normal(shape).astype(np.float32)


def _tensor(values: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(values)


def _conv(random: np.random.RandomState) -> Made:
    groups, side, kernel, stride, dilation = (int(random.randint(1, top)) for top in (4, 4, 6, 3, 3))
    pad = [int(value) for value in random.randint(0, 4, 4)]  # top, bottom, left, right
    weight, bias = _floats(random, 2 * groups, side, kernel, kernel), _floats(random, 2 * groups)
    options = {"strides": [stride] * 2, "dilations": [dilation] * 2, "groups": groups}
    padded = (pad[2], pad[3], pad[0], pad[1])
    return (
        (1, groups * side, 13, 12),
        lambda mb, x: mb.conv(x=x, weight=weight, bias=bias, pad_type="custom", pad=pad, **options),
        lambda x: F.conv2d(
            F.pad(x, padded), _tensor(weight), _tensor(bias), stride, dilation=dilation, groups=groups
        ),
    )


def _conv_same(random: np.random.RandomState) -> Made:
    weight, dilation = _floats(random, 4, 2, 4, 3), int(random.randint(1, 3))
    return (
        (1, 2, 9, 8),
        lambda mb, x: mb.conv(x=x, weight=weight, pad_type="same", dilations=[dilation] * 2),
        lambda x: F.conv2d(x, _tensor(weight), padding="same", dilation=dilation),
    )


def _avg_pool(random: np.random.RandomState) -> Made:
    kernel, stride, pad = int(random.randint(2, 5)), int(random.randint(1, 4)), int(random.randint(0, 2))
    inside = bool(random.randint(2))
    return (
        (1, 3, 11, 8),
        lambda mb, x: mb.avg_pool(
            x=x,
            kernel_sizes=[kernel] * 2,
            strides=[stride] * 2,
            pad_type="custom",
            pad=[pad] * 4,
            exclude_padding_from_average=inside,
        ),
        lambda x: F.avg_pool2d(x, kernel, stride, pad, count_include_pad=not inside),
    )


def _batch_norm(random: np.random.RandomState) -> Made:
    channels, epsilon = int(random.randint(1, 9)), float(random.choice([1e-5, 1e-2]))
    mean, gamma, beta = (_floats(random, channels) for _ in range(3))
    variance = np.abs(_floats(random, channels)) + 0.1
    affine: dict[str, Any] = {"gamma": gamma, "beta": beta} if random.randint(2) else {}
    scale = (_tensor(gamma), _tensor(beta)) if affine else (None, None)
    return (
        (1, channels, 4, 3),
        lambda mb, x: mb.batch_norm(x=x, mean=mean, variance=variance, epsilon=np.float32(epsilon), **affine),
        lambda x: F.batch_norm(x, _tensor(mean), _tensor(variance), *scale, eps=epsilon),
    )


def _elementwise(name: str, by_torch: Callable[..., Tensor]) -> Callable[[np.random.RandomState], Made]:
    def make(random: np.random.RandomState) -> Made:
        shape = tuple(int(side) for side in random.randint(1, 5, 3))
        other = _floats(random, *(side if random.randint(2) else 1 for side in shape))
        return shape, lambda mb, x: getattr(mb, name)(x=x, y=other), lambda x: by_torch(x, _tensor(other))

    return make


def _single(name: str, by_torch: Callable[..., Tensor], **options: Any) -> Callable[[np.random.RandomState], Made]:
    def make(random: np.random.RandomState) -> Made:
        shape = tuple(int(side) for side in random.randint(1, 5, 3))
        return shape, lambda mb, x: getattr(mb, name)(x=x, **options), by_torch

    return make


def _linear(random: np.random.RandomState) -> Made:
    inner, outer = (int(side) for side in random.randint(1, 6, 2))
    weight, bias = _floats(random, outer, inner), _floats(random, outer)
    return (
        (3, inner),
        lambda mb, x: mb.linear(x=x, weight=weight, bias=bias),
        lambda x: F.linear(x, _tensor(weight), _tensor(bias)),
    )


def _matmul(random: np.random.RandomState) -> Made:
    rows, inner, columns = (int(side) for side in random.randint(1, 6, 3))
    flip_x, flip_y = bool(random.randint(2)), bool(random.randint(2))
    other = _floats(random, 2, *((columns, inner) if flip_y else (inner, columns)))
    return (
        (2, *((inner, rows) if flip_x else (rows, inner))),
        lambda mb, x: mb.matmul(x=x, y=other, transpose_x=flip_x, transpose_y=flip_y),
        lambda x: torch.einsum(f"b{'ki' if flip_x else 'ik'},b{'jk' if flip_y else 'kj'}->bij", x, _tensor(other)),
    )


def _reduce_mean(random: np.random.RandomState) -> Made:
    axes, keep = ([1, -1], [0], [2])[random.randint(3)], bool(random.randint(2))
    return (
        (2, 3, 4),
        lambda mb, x: mb.reduce_mean(x=x, axes=axes, keep_dims=keep),
        lambda x: x.mean(axes, keepdim=keep),
    )


def _reshape(random: np.random.RandomState) -> Made:
    shape, same = (((2, -1), (2, 12)), ((0, 4, 3), (2, 4, 3)), ((6, 4), (6, 4)))[random.randint(3)]
    return (2, 3, 4), lambda mb, x: mb.reshape(x=x, shape=list(shape)), lambda x: x.reshape(same)


def _transpose(random: np.random.RandomState) -> Made:
    order = [int(axis) for axis in random.permutation(4)]
    return (2, 3, 4, 5), lambda mb, x: mb.transpose(x=x, perm=order), lambda x: x.permute(order)


def _split(random: np.random.RandomState) -> Made:
    options: dict[str, Any]
    options, sizes = (({"split_sizes": [1, 3, 2]}, [1, 3, 2]), ({"num_splits": 3}, [2, 2, 2]))[random.randint(2)]
    return (2, 6, 3), lambda mb, x: mb.split(x=x, axis=1, **options), lambda x: x.split(sizes, 1)


def _squeeze(random: np.random.RandomState) -> Made:
    options: dict[str, Any] = ({"axes": [0]}, {"axes": [0, -2]}, {})[random.randint(3)]
    by_torch = (lambda x: x.squeeze(options["axes"])) if options else (lambda x: x.squeeze())
    return (1, 3, 1, 4), lambda mb, x: mb.squeeze(x=x, **options), by_torch


def _softmax(random: np.random.RandomState) -> Made:
    axis = int(random.randint(-1, 3))
    return (2, 3, 4), lambda mb, x: mb.softmax(x=x, axis=axis), lambda x: x.softmax(axis)


def _fake_quantization(random: np.random.RandomState) -> Made:
    scale = np.abs(_floats(random, 3)) * 0.01 + 0.005
    zero = random.randint(-20, 20, 3).astype(np.int8)

    def build(mb: Any, x: Any) -> Any:
        steps = mb.quantize(input=x, scale=scale, zero_point=zero, output_dtype="int8", axis=1)
        return mb.dequantize(input=steps, scale=scale, zero_point=zero, axis=1)

    def by_torch(x: Tensor) -> Tensor:
        points = torch.from_numpy(zero).int()
        return torch.fake_quantize_per_channel_affine(x, torch.from_numpy(scale), points, 1, -128, 127)

    return (2, 3, 5), build, by_torch


CASES: dict[str, Callable[[np.random.RandomState], Made]] = {
    "add": _elementwise("add", torch.add),
    "avg_pool": _avg_pool,
    "batch_norm": _batch_norm,
    "cast": _single("cast", lambda x: x.half().float(), dtype="fp16"),
    "conv": _conv,
    "conv, same": _conv_same,
    "dequantize": _fake_quantization,
    "gelu": _single("gelu", F.gelu, mode="EXACT"),
    "gelu, tanh": _single("gelu", lambda x: F.gelu(x, approximate="tanh"), mode="TANH_APPROXIMATION"),
    "gelu, sigmoid": _single("gelu", lambda x: x * (1.702 * x).sigmoid(), mode="SIGMOID_APPROXIMATION"),
    "linear": _linear,
    "matmul": _matmul,
    "mul": _elementwise("mul", torch.mul),
    "quantize": _fake_quantization,
    "reduce_mean": _reduce_mean,
    "relu": _single("relu", torch.relu),
    "reshape": _reshape,
    "sigmoid": _single("sigmoid", torch.sigmoid),
    "softmax": _softmax,
    "split": _split,
    "squeeze": _squeeze,
    "sub": _elementwise("sub", torch.sub),
    "transpose": _transpose,
}


def test_every_operation_has_a_case() -> None:
    assert {name.split(",")[0] for name in CASES} == set(OPERATIONS)


def _program(shape: tuple[int, ...], build: Callable[[Any, Any], Any]) -> Any:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    def block(x: Any) -> Any:  # coremltools counts its arguments
        return build(mb, x)

    program = mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS17)(block)
    (function,) = program.functions.values()
    return function


@pytest.mark.parametrize("name", CASES)
def test_operation_computes_what_pytorch_does(name: str) -> None:
    random = np.random.RandomState(len(name))
    for _ in range(4):
        shape, build, by_torch = CASES[name](random)
        function = _program(shape, build)
        (given,) = function.inputs
        x = _tensor(_floats(random, *shape))
        values = execute(prepare(op for op in function.operations if op.op_type != "const"), {given: x})
        expected = by_torch(x)
        for output, want in zip(
            function.outputs, expected if isinstance(expected, tuple) else (expected,), strict=True
        ):
            assert values[output.name].shape == output.shape, "as coremltools infers it"
            torch.testing.assert_close(values[output.name], want)


def test_asymmetric_padding_of_even_kernels() -> None:
    x, weight = torch.arange(4.0).reshape(1, 1, 1, 4), torch.ones(1, 1, 1, 2)
    after = OPERATIONS["conv"](x, weight, pad_type="same")
    before = OPERATIONS["conv"](x, weight, pad_type="same_lower")
    assert isinstance(after, Tensor)
    assert isinstance(before, Tensor)
    assert after.flatten().tolist() == [1, 3, 5, 3]
    assert before.flatten().tolist() == [0, 1, 3, 5]


def test_unknown_modes_are_refused() -> None:
    image, weight = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 3, 3)
    with pytest.raises(FastViTError, match="pads by 'reflect'"):
        OPERATIONS["conv"](image, weight, pad_type="reflect")
    with pytest.raises(FastViTError, match="'SINE'"):
        OPERATIONS["gelu"](image, mode="SINE")
    with pytest.raises(FastViTError, match="casts to int32"):
        OPERATIONS["cast"](image, dtype="int32")


def test_constants() -> None:
    assert constant(np.array([1, 2], np.int32)) == (1, 2)
    assert constant(np.int32(3)) == 3
    assert constant(None) is None
    half = constant(np.array([0.5], np.float16))
    assert isinstance(half, Tensor)
    assert half.dtype == torch.float32
