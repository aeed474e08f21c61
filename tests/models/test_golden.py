"""Every variant against the reference program: keys, shapes, counts, logits in all forms, loss and gradients."""

from __future__ import annotations

import pytest
import torch
from helpers.golden import FORMS, GRADIENT_TOLERANCE, GoldenVariant, assert_logits, reference_input
from torch import nn
from torch.nn import functional as F

from fastvit_cli.checkpoints.keymaps import native_to_reference
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.modules import LayerScale
from fastvit_cli.models.network import FastViT

pytestmark = pytest.mark.quick


def skeleton(golden: GoldenVariant, fused: bool) -> FastViT:
    """Keys and shapes without values, which would take time to draw."""
    with torch.device("meta"):
        return create_model(golden.name, fused=fused)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("form", FORMS)
def test_keys_and_shapes_are_the_references(golden: GoldenVariant, form: str) -> None:
    ours = skeleton(golden, fused=form == "fused").state_dict()
    expected = {golden.native_name(key): shape for key, shape in golden.shapes(form).items()}
    assert {key: tuple(value.shape) for key, value in ours.items()} == expected


@pytest.mark.parametrize("form", FORMS)
def test_key_map_is_a_bijection(golden: GoldenVariant, form: str) -> None:
    reference = list(golden.shapes(form))
    native = [golden.native_name(key) for key in reference]
    assert len(set(native)) == len(reference)
    assert [native_to_reference(key, golden.variant.attention) for key in native] == reference


def test_parameter_counts(golden: GoldenVariant) -> None:
    def count_listed(form: str) -> int:
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        shapes = golden.shapes(form).items()
        return sum(torch.Size(shape).numel() for key, shape in shapes if not key.endswith(buffers))

    assert count(golden.shared_network) == golden.variant.params == count_listed("unfused")
    assert count(skeleton(golden, fused=True)) == golden.variant.params_fused == count_listed("fused")


@torch.no_grad()
def test_eval_logits(golden: GoldenVariant) -> None:
    assert_logits(golden.shared_network(reference_input()), golden.value("eval_logits"))


@torch.no_grad()
def test_fused_logits(golden: GoldenVariant) -> None:
    fused = reparameterize(golden.shared_network)
    assert fused.form == "branches"
    assert count(fused) == golden.variant.params_fused
    assert fused.state_dict().keys() == skeleton(golden, fused=True).state_dict().keys()
    assert_logits(fused(reference_input()), golden.value("fused_logits"))


@torch.no_grad()
def test_all_fused_logits(golden: GoldenVariant) -> None:
    fused = fuse_all(golden.shared_network)
    assert fused.form == "all"
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d | LayerScale)]
    assert_logits(fused(reference_input()), golden.value("fused_logits"))


@torch.no_grad()
def test_all_fused_is_exact_in_float64(golden: GoldenVariant) -> None:
    network = golden.network().double()
    x = reference_input()[:1, :, :64, :64].double()
    torch.testing.assert_close(fuse_all(network)(x), network(x), rtol=0, atol=1e-10)


@torch.no_grad()
def test_fused_form_with_seeded_weights(golden: GoldenVariant) -> None:
    """The fused form on its own, built and not made by fusing."""
    assert_logits(golden.network("fused")(reference_input()), golden.value("fused_seeded_logits"))


def test_training_logits_loss_and_gradients(golden: GoldenVariant) -> None:
    network = golden.network().double().train()
    logits = network(reference_input().double())
    loss = F.cross_entropy(logits, torch.tensor([1, 2]))
    loss.backward()
    assert_logits(logits.detach().float(), golden.value("train_logits"))
    assert loss.item() == pytest.approx(golden.value("train_loss").item(), rel=GRADIENT_TOLERANCE, abs=0)
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None]
    expected = golden.gradient_norms()
    assert len(expected) == 10
    norms = {name: gradients[name].norm().item() for name in expected}
    assert norms == pytest.approx(expected, rel=GRADIENT_TOLERANCE, abs=0)
