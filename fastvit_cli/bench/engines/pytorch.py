"""PyTorch: eager, compiled, and a training step."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastvit_cli.bench.engines.base import Job, Prepared, Stopwatch, size_bytes
from fastvit_cli.bench.events import INFERENCE
from fastvit_cli.bench.torch_profile import profile_torch
from fastvit_cli.devices import synchronize
from fastvit_cli.errors import FastViTError
from fastvit_cli.optim.optimizer import build_optimizer
from fastvit_cli.optim.parameter_groups import parameter_groups


def eager(job: Job) -> Prepared:
    """As it comes."""
    loading = Stopwatch()
    with loading.running():
        network, images = _on_device(job)
        synchronize(job.device)
    return Prepared(
        {INFERENCE: lambda: network(images)},
        str(job.device),
        size_bytes(network),
        loading.nanoseconds,
        lambda: synchronize(job.device),
        profile=lambda: profile_torch(network, images, job.device, job.label),
    )


def compiled(job: Job) -> Prepared:
    """By torch.compile, on a CPU with the weights frozen into the program; it compiles in the first step.

    Raises:
        FastViTError: the network cannot be captured.
    """
    loading = Stopwatch()
    with loading.running():
        network, images = _on_device(job)
        try:
            # A program of its own: torch keeps at most eight compilations of one forward function, and silently runs
            # a ninth network of the same class as it comes.
            program = torch.export.export(network, (images,)).module()
        except Exception as error:  # torch.export raises many types, none of them documented
            raise FastViTError(f"torch.export cannot capture it ({type(error).__name__})") from error
        frozen = job.device.type == "cpu"
        fast = torch.compile(program, fullgraph=True, dynamic=False, options={"freezing": True} if frozen else {})
        synchronize(job.device)
    return Prepared(
        {INFERENCE: lambda: fast(images)},
        str(job.device),
        size_bytes(network),
        loading.nanoseconds,
        lambda: synchronize(job.device),
        profile=lambda: profile_torch(fast, images, job.device, job.label),
    )


def training(job: Job) -> Prepared:
    """Forward with the loss, backward, and AdamW with the published weight decay.

    Raises:
        FastViTError: channels last on a CPU, where torch crashes in the backward pass.
    """
    if job.channels_last and job.device.type == "cpu":
        raise FastViTError("training with channels last crashes torch on a CPU")
    assert job.network is not None
    loading = Stopwatch()
    with loading.running():
        network = job.network.to(job.device).train()
        images = job.images.to(job.device)
        if job.channels_last:
            network = network.to(memory_format=torch.channels_last)
            images = images.contiguous(memory_format=torch.channels_last)
        classes = max(job.info.num_classes, 1)
        labels = torch.randint(classes, (len(images),), generator=torch.Generator().manual_seed(job.seed))
        labels = labels.to(job.device)
        optimizer = build_optimizer(parameter_groups(network, 0.05), opt="adamw", lr=1e-3)
        synchronize(job.device)
    loss = torch.zeros(())

    def forward() -> None:
        nonlocal loss
        with torch.autocast(job.device.type, job.dtype, enabled=job.dtype != torch.float32):
            logits = network(images)
        loss = F.cross_entropy(logits.float(), labels)

    def backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()

    return Prepared(
        {"forward": forward, "backward": backward, "optimizer": optimizer.step},
        str(job.device),
        size_bytes(network),
        loading.nanoseconds,
        lambda: synchronize(job.device),
        (RuntimeError, MemoryError, ValueError),  # the last for a BatchNorm that sees a single value
    )


def _on_device(job: Job) -> tuple[nn.Module, Tensor]:
    # Contiguous unless asked. channels_last was tried on two shared AVX-512 cores (all folded, 256 px, one thread,
    # batch 1 / 8, best of contiguous over best of channels_last): t8 0.80 / 1.10, sa24 0.96 / 1.05.
    assert job.network is not None
    network = job.network.to(job.device, job.dtype).eval()
    images = job.images.to(job.device, job.dtype)
    if job.channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    return network, images
