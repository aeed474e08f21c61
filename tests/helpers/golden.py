"""The reference values of tests/golden, and the weights and input that they belong to (see its README)."""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastvit_cli.checkpoints.keymaps import reference_to_native
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.variants import get_variant

FOLDER = Path(__file__).parents[1] / "golden"
FORMS = ("unfused", "fused")  # as the reference's keys are listed

LOGITS_TOLERANCE = 2e-6  # absolute, float32
GRADIENT_TOLERANCE = 1e-6  # relative, float64


@functools.cache
def facts() -> dict[str, Any]:
    """Keys and shapes of every state dict, distillation losses, the weight-decay series."""
    facts: dict[str, Any] = json.loads(gzip.decompress((FOLDER / "apple_reference.json.gz").read_bytes()))
    return facts


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    """Logits, losses and gradient norms, by `<variant>.<what>`."""
    with np.load(FOLDER / "apple_reference.npz") as archive:
        return {name: archive[name] for name in archive.files}


def _random_state(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32((facts()["salt"] + name).encode()))


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of a reference key, by the seeded rule."""
    random = _random_state(name)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        values = random.random_sample(shape) + 0.5
    elif name.endswith("running_mean"):
        values = random.standard_normal(shape) * 0.1
    elif "layer_scale" in name:
        values = random.random_sample(shape) * 0.1 + 0.05
    elif len(shape) >= 2:
        values = random.standard_normal(shape) * 0.7 / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):
        values = random.random_sample(shape) + 0.5
    else:
        values = random.standard_normal(shape) * 0.1
    return torch.from_numpy(np.asarray(values, np.float32))


@functools.cache
def reference_input() -> Tensor:
    """Two images (2, 3, 256, 256)."""
    return torch.from_numpy(_random_state("input").standard_normal((2, 3, 256, 256)).astype(np.float32))


class GoldenVariant:
    """One variant: the reference's weights in both forms, and what it computes with them.

    Tensors are drawn on first use and shared: do not change them in place.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.variant = get_variant(name)

    def __repr__(self) -> str:
        return f"GoldenVariant({self.name!r})"

    def shapes(self, form: str) -> dict[str, tuple[int, ...]]:
        """Reference keys and shapes of a form."""
        return {key: tuple(shape) for key, shape in facts()["state_dicts"][self.name][form].items()}

    def reference_tensors(self, form: str) -> dict[str, Tensor]:
        """The seeded state dict under the reference's names."""
        return self.unfused if form == "unfused" else self.fused

    @functools.cached_property
    def unfused(self) -> dict[str, Tensor]:
        return {key: draw(key, shape) for key, shape in self.shapes("unfused").items()}

    @functools.cached_property
    def fused(self) -> dict[str, Tensor]:
        return {key: draw(key, shape) for key, shape in self.shapes("fused").items()}

    def native_name(self, key: str) -> str:
        return reference_to_native(key, self.variant.attention)

    def native_tensors(self, form: str) -> dict[str, Tensor]:
        """The seeded state dict under our names."""
        return {self.native_name(key): value for key, value in self.reference_tensors(form).items()}

    def network(self, form: str = "unfused") -> FastViT:
        """A new network with the seeded weights, in evaluation mode."""
        with torch.device("meta"):  # random weights would take time
            network = create_model(self.name, fused=form == "fused")
        network.to_empty(device="cpu").load_state_dict(self.native_tensors(form))
        return network.eval()

    @functools.cached_property
    def shared_network(self) -> FastViT:
        """The seeded unfused network, built once: for tests that leave it as it is."""
        return self.network()

    def value(self, what: str) -> Tensor:
        """`eval_logits`, `fused_logits`, `fused_seeded_logits`, `train_logits` or `train_loss`."""
        return torch.from_numpy(arrays()[f"{self.name}.{what}"])

    def gradient_norms(self) -> dict[str, float]:
        """Norms of the gradients of some parameters, under our names."""
        prefix = f"{self.name}.grad_norm."
        return {
            self.native_name(name.removeprefix(prefix)): float(values[0])
            for name, values in arrays().items()
            if name.startswith(prefix)
        }


def assert_logits(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=LOGITS_TOLERANCE)
