from typing import Any

import pytest
import timm
from timm.models import group_parameters
from torch import nn

from fastvit_cli.models.factory import create_model
from fastvit_cli.optim.parameter_groups import parameter_groups


def names_of(network: nn.Module, group: dict[str, Any]) -> list[str]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [names[id(parameter)] for parameter in group["params"]]


def scales(network: nn.Module, layer_decay: float) -> dict[str, float]:
    groups = parameter_groups(network, 0.05, layer_decay=layer_decay)
    return {name: group["lr_scale"] for group in groups for name in names_of(network, group)}


def test_decay_goes_to_parameters_of_two_or_more_dimensions() -> None:
    network = create_model("sa12", num_classes=3)
    decayed, plain = parameter_groups(network, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    assert "lr_scale" not in decayed
    decayed_names, plain_names = names_of(network, decayed), names_of(network, plain)
    assert sorted(decayed_names + plain_names) == sorted(name for name, _ in network.named_parameters())
    assert "stages.0.blocks.0.layer_scale.gamma" in decayed_names, "(C, 1, 1), as in the reference"
    assert all(name.endswith((".bias", "bn.weight", "norm.weight", "identity.weight")) for name in plain_names)


def test_layer_scales_may_go_undecayed() -> None:
    network = create_model("sa12", num_classes=3)
    with_them, _ = parameter_groups(network, 0.05)
    without, plain = parameter_groups(network, 0.05, decay_layer_scale=False)
    moved = set(names_of(network, with_them)) - set(names_of(network, without))
    assert moved == {name for name, _ in network.named_parameters() if "layer_scale" in name}
    assert moved <= set(names_of(network, plain))


def test_the_frozen_and_the_empty_are_left_out() -> None:
    network = create_model("t8", num_classes=3).requires_grad_(False)
    assert parameter_groups(network, 0.05, layer_decay=0.5) == []
    network.head.fc.weight.requires_grad_(True)
    (group,) = parameter_groups(network, 0.05, layer_decay=0.5)
    assert names_of(network, group) == ["head.fc.weight"]
    network.stem[0].conv_kxk[0].conv.weight.requires_grad_(True)
    stem, head = parameter_groups(network, 0.05, layer_decay=0.5)
    assert (stem["lr_scale"], head["lr_scale"]) == (0.5**15, 1.0), "15 layers lie between, frozen or not"


def test_layers_learn_slower_the_deeper_they_lie() -> None:
    network = create_model("t8", num_classes=3)  # blocks: 2, 2, 4, 2
    groups = parameter_groups(network, 0.05, layer_decay=0.5)
    layers = [names_of(network, group)[0] for group in groups[::2]]
    firsts = ("stem.", "stages.0.blocks.0.", "stages.0.blocks.1.", "stages.1.downsample.", "stages.1.blocks.0.")
    assert all(name.startswith(first) for name, first in zip(layers, firsts, strict=False))
    scales = list(dict.fromkeys(group["lr_scale"] for group in groups))
    assert scales == [0.5**power for power in range(15, -1, -1)]
    assert [names_of(network, group)[0] for group in groups[-4:]] == [
        "final_conv.se.fc1.weight",
        "final_conv.se.fc1.bias",
        "head.fc.weight",
        "head.fc.bias",
    ]
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0] * 16
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


@pytest.mark.parametrize(("variant", "timm_name"), [("t8", "fastvit_t8"), ("sa36", "fastvit_sa36")])
def test_layers_are_timms_but_finer(variant: str, timm_name: str) -> None:
    peer = timm.create_model(timm_name, num_classes=3)
    theirs = group_parameters(peer, peer.group_matcher(coarse=False), reverse=True)
    ours = scales(create_model(variant, num_classes=3), 0.5)
    assert ours.keys() == theirs.keys()
    by_depth = sorted(ours, key=lambda name: ours[name])
    assert [theirs[name] for name in by_depth] == sorted(theirs.values()), "timm's order is kept"
    finer = {name for name in ours if ".downsample." in name or ".pos_emb." in name or name.startswith("final_conv")}
    pairs = {(ours[name], theirs[name]) for name in ours.keys() - finer}
    assert len(pairs) == len({scale for scale, _ in pairs}) == len({layer for _, layer in pairs})


def test_every_form_has_the_same_layers() -> None:
    scales_of_layers = [
        set(scales(create_model("sa12", num_classes=3, fused=fused), 0.7).values()) for fused in (False, True)
    ]
    assert scales_of_layers[0] == scales_of_layers[1]


def test_layers_of_another_network_are_unknown() -> None:
    with pytest.raises(ValueError, match=r"0\.weight.*FastViT"):
        parameter_groups(nn.Sequential(nn.Linear(2, 2)), 0.05, layer_decay=0.5)
    assert len(parameter_groups(nn.Sequential(nn.Linear(2, 2)), 0.05)) == 2
