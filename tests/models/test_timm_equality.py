"""timm's own FastViT as a second witness: it loads our state dicts strictly and computes the same."""

from __future__ import annotations

import pytest
import timm
import torch
from helpers.golden import GoldenVariant, assert_logits, reference_input

from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import reparameterize


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return reference_input()[:1, :, :128, :128]


@torch.no_grad()
def test_unfused(golden: GoldenVariant, x: torch.Tensor) -> None:
    theirs = timm.create_model(f"fastvit_{golden.name}").eval()
    theirs.load_state_dict(golden.shared_network.state_dict(), strict=True)
    assert_logits(golden.shared_network(x), theirs(x))


@torch.no_grad()
def test_branch_fused(golden: GoldenVariant, x: torch.Tensor) -> None:
    theirs = timm.create_model(f"fastvit_{golden.name}", inference_mode=True).eval()
    fused = reparameterize(golden.shared_network)
    theirs.load_state_dict(fused.state_dict(), strict=True)
    assert_logits(fused(x), theirs(x))


@torch.no_grad()
def test_embedding_without_classifier(x: torch.Tensor) -> None:
    ours = create_model("t8", num_classes=0).eval()
    theirs = timm.create_model("fastvit_t8", num_classes=0).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert_logits(ours(x), theirs(x))
