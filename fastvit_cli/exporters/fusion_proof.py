"""The proof that fusing changed nothing: in float64, block by block, and of the written file in float32."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.base import normalize

# Shares of the largest value. Fusion is exact, so in float64 only summation orders differ (measured: below 1e-13).
# The float32 file is that plus one rounding of every fused weight (measured: below 3e-6 on all variants).
FLOAT64_TOLERANCE = 1e-10
FILE_TOLERANCE = 1e-5
RANDOM_BATCHES = 2
RANDOM_BATCH_SIZE = 2
REAL_BATCH_SIZE = 8


@dataclass(frozen=True)
class BlockError:
    """Largest difference of one block's output in float64, as a share of its largest value."""

    name: str
    relative_error: float


@dataclass(frozen=True)
class FusionProof:
    """What the two comparisons found.

    Attributes:
        fusion_error_float64: difference of the logits by the fusion alone, as a share of the largest logit.
        max_abs_error: largest difference of a logit between the written file, opened again, and the source.
        relative_error: the same as a share of the largest logit.
        blocks: the fusion in float64 after each block; what is computed before is part of each.
        random_images, real_images: how many were compared.
        passed: all of it is within rounding.
    """

    fusion_error_float64: float
    max_abs_error: float
    relative_error: float
    blocks: tuple[BlockError, ...]
    random_images: int
    real_images: int
    passed: bool


def prove_fusion(
    source: FastViT,
    fuse: Callable[[FastViT], FastViT],
    reopened: FastViT,
    info: ModelInfo,
    images: Tensor | None = None,
    seed: int = 0,
) -> FusionProof:
    """Compare `fuse(source)` with `source` in float64, and `reopened` with `source` in float32, on the CPU.

    Args:
        reopened: the network in the written file.
        images: real ones, raw uint8 (B, 3, H, W), beside the random ones.
    """
    real = [] if images is None else [normalize(part, info) for part in images.split(REAL_BATCH_SIZE)]
    batches = [*_random_batches(info.preprocessing.img_size, seed), *real]
    max_abs_error, largest = _logit_error(source, reopened, batches)
    double = copy.deepcopy(source).double()
    with _one_thread():
        errors = _block_errors(double, fuse(double), [batch.double() for batch in batches])
    fusion_error = errors.pop(_LOGITS)
    blocks = tuple(BlockError(name, error) for name, error in errors.items())
    within = all(error <= FLOAT64_TOLERANCE for error in (fusion_error, *errors.values()))
    return FusionProof(
        fusion_error_float64=fusion_error,
        max_abs_error=max_abs_error,
        relative_error=max_abs_error / largest,
        blocks=blocks,
        random_images=RANDOM_BATCHES * RANDOM_BATCH_SIZE,
        real_images=0 if images is None else len(images),
        passed=within and max_abs_error <= FILE_TOLERANCE * largest,
    )


def _random_batches(img_size: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (RANDOM_BATCH_SIZE, 3, img_size, img_size)
    return [torch.randn(shape, generator=generator) for _ in range(RANDOM_BATCHES)]


@torch.inference_mode()
def _logit_error(first: FastViT, second: FastViT, batches: list[Tensor]) -> tuple[float, float]:
    """Largest difference of a logit, and the largest logit of `first`; NaN where one of them is.

    A classifier that nobody has trained may give zeros alone: its differences are shares of 1.
    """
    expected = torch.cat([first(batch) for batch in batches])
    found = torch.cat([second(batch) for batch in batches])
    return (expected - found).abs().max().item(), expected.abs().max().item() or 1.0


_LOGITS = "logits"


@torch.inference_mode()
def _block_errors(first: FastViT, second: FastViT, batches: list[Tensor]) -> dict[str, float]:
    """Largest relative difference after each block, in network order, and of the logits."""
    errors: dict[str, float] = {}
    for batch in batches:
        expected, found = _outputs(first, batch), _outputs(second, batch)
        for name, value in expected.items():
            # torch's maximum keeps a NaN, Python's max may lose it
            largest = value.abs().max()
            error = (value - found[name]).abs().max() / torch.where(largest == 0, 1.0, largest)
            errors[name] = torch.maximum(error, error.new_tensor(errors.get(name, 0.0))).item()
    return errors


def _outputs(network: FastViT, batch: Tensor) -> dict[str, Tensor]:
    """What every block gives for one batch, by its name in the network, and the logits."""
    outputs: dict[str, Tensor] = {}
    hooks = []
    for name in _block_names(network):
        module = network.get_submodule(name)
        hooks.append(module.register_forward_hook(lambda _, __, out, name=name: outputs.__setitem__(name, out)))
    try:
        logits = network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {**outputs, _LOGITS: logits}


def _block_names(network: FastViT) -> list[str]:
    names = [f"stem.{index}" for index in range(len(network.stem))]
    for number, depth in enumerate(network.variant.depths):
        names += [f"stages.{number}.downsample"] if number else []
        names += [f"stages.{number}.blocks.{index}" for index in range(depth)]
    return [*names, "final_conv"]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """float64 convolutions have no fast kernels, and busy cores slow their threads further."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
