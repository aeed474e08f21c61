"""Which model is meant."""

import torch

from fastvit_cli.checkpoints.select import load_source, select_source
from fastvit_cli.options import ModelConfig


def test_random_weights_are_those_of_the_seed() -> None:
    """Also where they are drawn last, after other random numbers, which go on as if nothing had been drawn."""

    def weights(seed: int) -> torch.Tensor:
        source = select_source(ModelConfig(variant="t8", seed=seed), random_allowed=True)
        return load_source(source).network.state_dict()["stem.0.conv_kxk.0.conv.weight"]

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = weights(1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)
