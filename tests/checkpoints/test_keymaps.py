"""Single lines of the key map, as a person would look them up; the whole map is tested against every state dict."""

from __future__ import annotations

import pytest

from fastvit_cli.checkpoints.keymaps import native_to_reference, reference_to_native


@pytest.mark.parametrize(
    ("native", "reference", "attention"),
    [
        ("stem.0.conv_kxk.0.conv.weight", "patch_embed.0.rbr_conv.0.conv.weight", False),
        ("stem.2.identity.weight", "patch_embed.2.rbr_skip.weight", False),
        ("stages.0.blocks.1.layer_scale.gamma", "network.0.1.layer_scale", False),
        ("stages.1.downsample.proj.0.large_conv.bn.bias", "network.1.proj.0.lkb_origin.bn.bias", False),
        ("stages.1.downsample.proj.0.reparam_conv.weight", "network.1.proj.0.lkb_reparam.weight", False),
        ("stages.1.downsample.proj.1.reparam_conv.weight", "network.1.proj.1.reparam_conv.weight", False),
        ("stages.3.blocks.0.mlp.fc1.weight", "network.6.0.convffn.fc1.weight", False),
        ("stages.3.blocks.0.mlp.fc1.weight", "network.7.0.convffn.fc1.weight", True),
        ("stages.3.pos_emb.pos_enc.weight", "network.6.pe.weight", True),
        ("stages.3.pos_emb.reparam_conv.bias", "network.6.reparam_conv.bias", True),
        ("stages.3.blocks.0.layer_scale_2.gamma", "network.7.0.layer_scale_2", True),
        ("final_conv.se.fc2.bias", "conv_exp.se.expand.bias", False),
        ("stages.2.downsample.proj.0.se.fc1.weight", "network.3.proj.0.se.fc1.weight", True),
        ("head.fc.weight", "head.weight", False),
    ],
)
def test_lines(native: str, reference: str, attention: bool) -> None:
    assert reference_to_native(reference, attention) == native
    assert native_to_reference(native, attention) == reference


@pytest.mark.parametrize("key", ["heads.weight", "network.11.weight", "my_patch_embed.0", "mlps.rbr_convs.x"])
def test_partial_matches_are_left_alone(key: str) -> None:
    assert reference_to_native(key, attention=False) == key
