"""PyTorch, eager."""

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.devices import describe_device, synchronize
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.bound import Bound, Job, Stopwatch, size_bytes
from fastvit_cli.runtimes.torch_profile import profile_torch


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


def bind(job: Job) -> Bound:
    """A network as it comes."""
    loading = Stopwatch()
    with loading.running():
        network, images = on_device(job)
        synchronize(job.device)
    return Bound(
        (lambda: network(images),),
        str(job.device),
        size_bytes(network),
        loading.nanoseconds,
        lambda: synchronize(job.device),
        profile=lambda: profile_torch(network, images, job.device, job.label),
    )


def on_device(job: Job) -> tuple[nn.Module, Tensor]:
    """The network and the images of a job, as they are timed."""
    # Contiguous unless asked. channels_last was tried on two shared AVX-512 cores (all folded, 256 px, one thread,
    # batch 1 / 8, best of contiguous over best of channels_last): t8 0.80 / 1.10, sa24 0.96 / 1.05.
    assert job.network is not None
    network = job.network.to(job.device, job.dtype).eval()
    images = job.images.to(job.device, job.dtype)
    if job.channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    return network, images
