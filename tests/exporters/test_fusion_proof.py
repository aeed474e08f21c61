"""The proof of a fusion on a small network: an error counts wherever it shows."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.loaded import tiny_model
from torch import Tensor, nn

from fastvit_cli.exporters.fusion_proof import RANDOM_BATCHES, FusionProof, prove_fusion
from fastvit_cli.models.fusion import reparameterize
from fastvit_cli.models.network import FastViT


def _proof(wrong_batch: int | None, error: float) -> FusionProof:
    """Of a fusion whose first block is off by that share in one of the random batches."""
    model = tiny_model()

    def fuse(network: FastViT) -> FastViT:
        fused, batches = reparameterize(network), []

        def hook(_module: nn.Module, _arguments: object, out: Tensor) -> Tensor:
            batches.append(out)
            return out * (1 + error) if len(batches) - 1 == wrong_batch else out

        fused.stem[0].register_forward_hook(hook)
        return fused

    return prove_fusion(model.network, fuse, copy.deepcopy(model.network), model.info)


def test_a_right_fusion_passes() -> None:
    proof = _proof(None, 0.0)
    assert proof.passed
    assert (proof.max_abs_error, proof.blocks[0].name) == (0.0, "stem.0")
    assert 0 < max(block.relative_error for block in proof.blocks) < 1e-12


@pytest.mark.parametrize("wrong_batch", range(RANDOM_BATCHES))
def test_an_error_in_one_batch_is_kept(wrong_batch: int) -> None:
    proof = _proof(wrong_batch, 1e-6)
    assert not proof.passed
    assert proof.blocks[0].relative_error == pytest.approx(1e-6)
    assert proof.fusion_error_float64 > 1e-10


@pytest.mark.parametrize("wrong_batch", range(RANDOM_BATCHES))
def test_nan_in_one_batch_is_kept(wrong_batch: int) -> None:
    proof = _proof(wrong_batch, torch.nan)
    assert not proof.passed
    assert torch.tensor(proof.blocks[0].relative_error).isnan()
