import copy

import torch
from torch import nn

from fastvit_cli.models.cost import network_cost
from fastvit_cli.models.factory import create_model


def test_a_network_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    cost = network_cost(network, img_size=4)
    assert cost.params == 3 * 8 * 9 + 8 + 8 * 16 * 5 + 5
    assert cost.multiply_adds == 16 * 3 * 8 * 9 + 8 * 16 * 5
    assert cost.operations == 3, "convolution, ReLU, linear; flattening is a view"


def test_t8_layer_by_layer() -> None:
    """Against a count of every convolution's and linear layer's own output."""
    network = create_model("t8", num_classes=10, fused=True).eval()
    counted = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal counted
        positions = out.numel() // out.shape[1]
        counted += positions * sum(weight.numel() for name, weight in module.named_parameters() if name == "weight")

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    assert network_cost(create_model("t8", num_classes=10, fused=True), 64).multiply_adds == counted


def test_the_same_on_shapes_alone_and_in_inference_mode() -> None:
    network = create_model("t8", num_classes=10).eval()
    cost = network_cost(network, 64)
    assert network_cost(copy.deepcopy(network).to("meta"), 64) == cost
    with torch.inference_mode():
        assert network_cost(network, 64) == cost


def test_attention_counts_alike_on_the_cpu_and_on_shapes() -> None:
    """The kernel of the CPU is one operation with its own formula; on shapes it is two products and their softmax."""
    network = create_model("sa12", num_classes=10, fused=True).eval()
    assert network_cost(network, 256).multiply_adds == network_cost(network.to("meta"), 256).multiply_adds
