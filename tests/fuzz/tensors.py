"""Changes to the tensors of a state dict, whatever file they are written to again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
TensorEdit = Callable[[Tensors, random.Random], None]


def _one(tensors: Tensors, rng: random.Random) -> str:
    return rng.choice([name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()])


def last_bit(tensors: Tensors, rng: random.Random) -> None:
    """The smallest change there is: the last bit of one number."""
    name = _one(tensors, rng)
    flat = tensors[name].float().clone().reshape(-1)
    flat.view(torch.int32)[rng.randrange(flat.numel())] ^= 1
    tensors[name] = flat.reshape(tensors[name].shape)


def _set(value: float) -> TensorEdit:
    def edit(tensors: Tensors, rng: random.Random) -> None:
        name = _one(tensors, rng)
        tensors[name] = tensors[name].clone()
        tensors[name].reshape(-1)[rng.randrange(tensors[name].numel())] = value

    return edit


def _scaled(tensors: Tensors, rng: random.Random) -> None:
    name = _one(tensors, rng)
    tensors[name] = tensors[name] * rng.choice((-1.0, 1.001, 1e6, 0.0))


def _other_type(tensors: Tensors, rng: random.Random) -> None:
    kind = rng.choice((torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool))
    for name in list(tensors) if rng.random() < 0.5 else [_one(tensors, rng)]:
        tensors[name] = tensors[name].to(kind)


def _other_shape(tensors: Tensors, rng: random.Random) -> None:
    name = _one(tensors, rng)
    flat = tensors[name].reshape(-1)
    shapes = (flat, flat[:-1], flat[:0], tensors[name].unsqueeze(0), torch.zeros(0, 2**40), flat.sum())
    tensors[name] = rng.choice(shapes)


def swapped(tensors: Tensors, rng: random.Random) -> None:
    """The values of two tensors of one shape."""
    by_shape: dict[Any, list[str]] = {}
    for name, tensor in tensors.items():
        by_shape.setdefault((tensor.shape, tensor.dtype), []).append(name)
    one, other = rng.sample(rng.choice([names for names in by_shape.values() if len(names) > 1]), 2)
    tensors[one], tensors[other] = tensors[other], tensors[one]


def _left_out(tensors: Tensors, rng: random.Random) -> None:
    for name in rng.sample(sorted(tensors), rng.choice((1, 2, 50))):
        del tensors[name]


def _extra(tensors: Tensors, rng: random.Random) -> None:
    tensors[rng.choice(("extra", "head.fc.weight2", "total_ops", "stages.9.x"))] = torch.zeros(3)


def _other_names(tensors: Tensors, rng: random.Random) -> None:
    prefix = rng.choice(("module.", "model.", "x.y.z.", "module.module.", "Stem."))
    some = list(tensors) if rng.random() < 0.6 else rng.sample(sorted(tensors), 3)
    for name in some:
        tensors[prefix + name] = tensors.pop(name)


TENSOR_EDITS: dict[str, TensorEdit] = {
    "last bit of a number": last_bit,
    "a number of 1e30": _set(1e30),
    "a NaN": _set(float("nan")),
    "an infinity": _set(float("inf")),
    "a tensor scaled": _scaled,
    "another type": _other_type,
    "another shape": _other_shape,
    "two tensors swapped": swapped,
    "tensors left out": _left_out,
    "a tensor more": _extra,
    "other names": _other_names,
}
