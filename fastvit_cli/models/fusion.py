"""Fusing a whole model: the branches, and on request everything else that is linear."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from fastvit_cli.devices import supports_float64
from fastvit_cli.models.modules import Attention, ConvFFN, ConvNorm, LayerScale, ReparamConv
from fastvit_cli.models.modules.reparam import norm_scale_shift
from fastvit_cli.models.network import AttentionBlock, RepMixerBlock

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def reparameterize(model: ModuleT) -> ModuleT:
    """Return a copy of `model` in evaluation mode with every `ReparamConv` fused; the original is untouched.

    Works on any module that contains blocks of the family, such as a detector around a FastViT. In evaluation
    mode the copy computes the same function: kernels are summed in float64 and rounded once.
    """
    return _fused_copy(model, _fuse_branches)


def fuse_all(model: ModuleT) -> ModuleT:
    """Return a copy as `reparameterize` does, with the remaining BatchNorms and layer scales folded as well.

    BatchNorm goes into the 7x7 convolution of the ConvFFN and into attention's qkv, layer scales into the
    ConvFFN's second 1x1 convolution and attention's projection. Exact, but no longer a state dict that timm
    can load.
    """

    def fuse(module: nn.Module) -> None:
        _fuse_branches(module)
        _fold_norms_and_scales(module)

    return _fused_copy(model, fuse)


def _fused_copy(model: ModuleT, fuse: Callable[[nn.Module], None]) -> ModuleT:
    """A copy of the model, fused on a device that has float64."""
    fused = copy.deepcopy(model)
    home = next((parameter.device for parameter in fused.parameters()), None)
    away = home is not None and not supports_float64(home)
    if away:
        fused.cpu()
    fuse(fused)
    if away:
        fused.to(home)
    return fused.eval()  # last: what stands in for fused layers is new


def _fold_norms_and_scales(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, RepMixerBlock):
            module.layer_scale = _fold_ffn(module.mlp, module.layer_scale)
        elif isinstance(module, AttentionBlock):
            module.norm = _fold_input_norm(module.token_mixer, module.norm)
            module.layer_scale_1 = _fold_layer_scale(module.token_mixer.proj, module.layer_scale_1)
            module.layer_scale_2 = _fold_ffn(module.mlp, module.layer_scale_2)


def _fuse_branches(module: nn.Module) -> None:
    if isinstance(module, ReparamConv):
        module.fuse()  # removes its own branches: what is left inside has none
        return
    for child in module.children():
        _fuse_branches(child)


def _fold_ffn(ffn: ConvFFN, layer_scale: nn.Module) -> nn.Module:
    if isinstance(ffn.conv, ConvNorm):
        ffn.conv = _without_norm(ffn.conv)
    return _fold_layer_scale(ffn.fc2, layer_scale)


@torch.no_grad()
def _without_norm(pair: ConvNorm) -> nn.Conv2d:
    kernel, old = pair.equivalent_kernel(), pair.conv
    conv = copy.deepcopy(old)
    conv.weight.copy_(kernel.weight)
    conv.bias = nn.Parameter(kernel.bias.to(old.weight))
    return conv


@torch.no_grad()
def _fold_layer_scale(projection: nn.Conv2d | nn.Linear, layer_scale: nn.Module) -> nn.Module:
    """Multiply the output channels of `projection` by the layer scale; returns what stands in its place."""
    if not isinstance(layer_scale, LayerScale):
        return layer_scale
    gamma = layer_scale.gamma.double().flatten()
    weight = projection.weight
    weight.copy_(weight.double() * gamma.reshape(-1, *[1] * (weight.ndim - 1)))
    assert projection.bias is not None
    projection.bias.copy_(projection.bias.double() * gamma)
    return nn.Identity()


@torch.no_grad()
def _fold_input_norm(attention: Attention, norm: nn.Module) -> nn.Module:
    """Apply a BatchNorm before attention inside its qkv, which gains a bias; returns what stands in its place."""
    if not isinstance(norm, nn.BatchNorm2d):
        return norm
    scale, shift = norm_scale_shift(norm)
    weight = attention.qkv.weight
    attention.qkv.bias = nn.Parameter((weight.double() @ shift).to(weight))
    weight.copy_(weight.double() * scale)
    return nn.Identity()
