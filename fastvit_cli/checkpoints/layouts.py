"""Recognising a FastViT from keys and shapes alone, and bringing its tensors to the native names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fastvit_cli.checkpoints.keymaps import native_to_reference, reference_to_native
from fastvit_cli.errors import FastViTError, excerpt
from fastvit_cli.models.network import Form
from fastvit_cli.models.variants import VARIANTS, Variant

Naming = Literal["native", "reference"]
_STEM = {"native": "stem.0.", "reference": "patch_embed.0."}
# Names that every layout has, and no other family has both of, below any prefix of whole dotted parts.
STEM_OF_A_FASTVIT = re.compile(
    r"(?:^|(?<=\.))(?:stem\.0\.(?:conv_kxk|reparam_conv)|patch_embed\.0\.(?:rbr_conv|reparam_conv))\."
)
BLOCK_OF_A_FASTVIT = re.compile(r"(?:^|(?<=\.))(?:stages\.0\.blocks\.0\.mlp|network\.0\.0\.convffn)\.fc1\.weight$")
TOP_MODULES = frozenset(("stem", "stages", "final_conv", "head", "patch_embed", "network", "conv_exp"))


@dataclass(frozen=True)
class Layout:
    """What a state dict was recognised as."""

    naming: Naming
    form: Form
    variant: Variant
    num_classes: int

    def describe(self) -> str:
        names = "timm names" if self.naming == "native" else "the reference's names"
        form = {"unfused": "unfused", "branches": "branches fused", "all": "all fused"}[self.form]
        head = f"{self.num_classes} classes" if self.num_classes else "no classifier"
        return f"fastvit_{self.variant.name}, {names}, {form}, {head}"


def detect_layout(tensors: Mapping[str, Tensor], where: str) -> Layout:
    """Recognise naming, form, variant and head of a state dict.

    Args:
        where: how to name the file in errors.

    Raises:
        FastViTError: not a FastViT; says what was seen.
    """
    naming = next((name for name, stem in _STEM.items() if any(key.startswith(stem) for key in tensors)), None)
    if naming is None:
        raise not_a_fastvit(tensors, where)
    attention = any("token_mixer.qkv." in key for key in tensors)
    native = tensors if naming == "native" else _to_native(tensors, attention)
    variant = _detect_variant(native, attention)
    if variant is None:
        raise not_a_fastvit(tensors, where)
    _check_channels(native, where)
    head = native.get("head.fc.weight")
    return Layout(
        naming="native" if naming == "native" else "reference",
        form=_detect_form(native),
        variant=variant,
        num_classes=0 if head is None or head.ndim == 0 else head.shape[0],
    )


def to_native(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors under native names."""
    return dict(tensors) if layout.naming == "native" else _to_native(tensors, layout.variant.attention)


def to_reference(tensors: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """Native tensors under the reference's names."""
    return {native_to_reference(key, variant.attention): value for key, value in tensors.items()}


def _to_native(tensors: Mapping[str, Tensor], attention: bool) -> dict[str, Tensor]:
    native = {reference_to_native(key, attention): value for key, value in tensors.items()}
    projection = native.get("head.fc.proj")
    if projection is not None and projection.ndim == 2:
        # MobileCLIP's `head.proj` is a bare matrix (in, out), where we have a linear layer.
        del native["head.fc.proj"]
        native["head.fc.weight"] = projection.T.contiguous()
        native["head.fc.bias"] = projection.new_zeros(projection.shape[1])
    return native


def _detect_form(native: Mapping[str, Tensor]) -> Form:
    if not any(key.startswith("stem.0.reparam_conv.") for key in native):
        return "unfused"
    return "all" if any(key.endswith("mlp.conv.weight") for key in native) else "branches"


def _detect_variant(native: Mapping[str, Tensor], attention: bool) -> Variant | None:
    depths, widths, ratios = [], [], []
    for stage in range(4):
        prefix = f"stages.{stage}.blocks."
        blocks = {key[len(prefix) :].split(".")[0] for key in native if key.startswith(prefix)}
        expansion = native.get(f"{prefix}0.mlp.fc1.weight")
        if expansion is None or expansion.ndim != 4 or 0 in expansion.shape:
            return None
        depths.append(len(blocks))
        widths.append(expansion.shape[1])
        ratios.append(expansion.shape[0] // expansion.shape[1])
    return next(
        (
            variant
            for variant in VARIANTS.values()
            if (tuple(depths), tuple(widths), attention) == (variant.depths, variant.widths, variant.attention)
            and set(ratios) == {variant.mlp_ratio}
        ),
        None,
    )


def _check_channels(native: Mapping[str, Tensor], where: str) -> None:
    """Refuse a network that takes other images than RGB."""
    channels = {
        value.shape[1] for key, value in native.items() if key.startswith(_STEM["native"]) and value.ndim == 4
    }
    if len(channels) == 1 and channels != {3}:
        count = channels.pop()
        images = "greyscale images (1 channel)" if count == 1 else f"images of {count} channels"
        raise FastViTError(
            f"The network in {where} takes {images}; the networks here take RGB images.",
            "Train it again on RGB images: grey ones are read as RGB, too.",
        )


def not_a_fastvit(tensors: Mapping[str, object], where: str) -> FastViTError:
    some = ", ".join(excerpt(name) for name in list(tensors)[:3])
    return FastViTError(
        f"{where} is no FastViT: {len(tensors)} tensors, the first named {some}.",
        f"Pass weights of one of: {', '.join(VARIANTS)}.",
    )


def check_fits(native: Mapping[str, Tensor], expected: Mapping[str, Tensor], layout: Layout, where: str) -> None:
    """Compare a state dict with the one of the network it was recognised as.

    Raises:
        FastViTError: keys or shapes differ (the count and the first three), or values are not finite.
    """
    problems = [f"{key} is missing" for key in expected if key not in native]
    problems += [f"{excerpt(key)} is not part of it" for key in native if key not in expected]
    problems += [
        f"{key} is {_size(native[key])}, not {_size(expected[key])}"
        for key in expected
        if key in native and native[key].shape != expected[key].shape
    ]
    if problems:
        more = ", …" if len(problems) > 3 else ""
        raise FastViTError(
            f"{where} was recognised as {layout.describe()}, but {len(problems)} keys differ: "
            f"{', '.join(problems[:3])}{more}.",
            "The file is incomplete or was changed: save or download it again.",
        )
    whole = [
        key
        for key in expected
        if native[key].is_complex() or (expected[key].is_floating_point() and not native[key].is_floating_point())
    ]
    if whole:
        raise FastViTError(
            f"{where} holds {str(native[whole[0]].dtype).removeprefix('torch.')} numbers in {whole[0]}, where a "
            "FastViT has floating-point weights.",
            "Pass the file from before its quantisation.",
        )
    broken = [key for key, value in native.items() if not torch.isfinite(value.float()).all()]  # float8 needs float()
    if broken:
        raise FastViTError(
            f"{where} holds NaN or Inf in {len(broken)} of its {len(native)} tensors, first in {broken[0]}.",
            "Its training diverged: pass an earlier checkpoint.",
        )


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
