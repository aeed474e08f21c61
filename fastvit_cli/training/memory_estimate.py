"""How much memory training takes, counted on shapes alone."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from fastvit_cli.compat import storage_key
from fastvit_cli.models.network import FastViT
from fastvit_cli.training.train_options import TrainConfig


@dataclass(frozen=True)
class Memory:
    """Estimated bytes on the device while training.

    Attributes:
        weights: the network, its gradients, its moving average and what the optimizer keeps for each weight.
        activations: what the backward pass needs of one batch, counted on shapes alone.
    """

    weights: int
    activations: int


def estimated_memory(config: TrainConfig, network: FastViT) -> Memory:
    """What a run with this configuration needs."""
    every = sum(p.numel() * p.element_size() for p in network.parameters())
    trained = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    copies = every * (2 if config.ema_decay else 1)
    # AdamW keeps two values for each weight; some optimizers keep one or none.
    weights = copies + 3 * trained
    activations = saved_for_backward(network, config.batch_size, config.img_size, train=not config.freeze_backbone)
    return Memory(weights, activations // (2 if config.amp else 1))


def saved_for_backward(network: FastViT, batch_size: int, img_size: int, *, train: bool) -> int:
    """Bytes that autograd keeps between forward and backward, each storage once, the weights not counted."""
    shapes = copy.deepcopy(network).to("meta").train(train)
    storages = {storage_key(p) for p in shapes.parameters()}
    kept: list[Tensor] = []  # alive, so that no storage takes the place of another

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    for block in shapes.recomputed_blocks():
        block.register_forward_pre_hook(lambda _, inputs: kept.extend(inputs))  # what it is computed again from
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        shapes(torch.empty(batch_size, 3, img_size, img_size, device="meta"))
    total = 0
    for tensor in kept:
        key = storage_key(tensor)
        if key not in storages:
            storages.add(key)
            total += tensor.untyped_storage().nbytes()
    return total
