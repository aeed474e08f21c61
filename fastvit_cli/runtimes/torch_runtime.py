"""PyTorch, eager."""

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.devices import describe_device
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.base import normalize


class TorchRuntime:
    """A network in evaluation mode on one device. See `runtimes.base.Runtime`."""

    engine = "torch"

    def __init__(self, network: FastViT, info: ModelInfo, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.info = info
        self.device = device
        self.device_name = describe_device(device)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        out: Tensor = self.network(normalize(images.to(self.device, non_blocking=True), self.info))
        return out.float().cpu()
