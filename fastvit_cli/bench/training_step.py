"""A training step to time: forward with the loss, backward, and the optimizer."""

from dataclasses import replace

import torch
from torch.nn import functional as F

from fastvit_cli.devices import synchronize
from fastvit_cli.errors import FastViTError
from fastvit_cli.optim.optimizer import build_optimizer
from fastvit_cli.optim.parameter_groups import parameter_groups
from fastvit_cli.runtimes.bound import Bound, Job, Stopwatch, size_bytes
from fastvit_cli.runtimes.torch_runtime import on_device


def bind_training(job: Job) -> Bound:
    """Forward with the loss, backward, and AdamW with the published weight decay.

    Raises:
        FastViTError: channels last on a CPU, where torch crashes in the backward pass.
    """
    if job.channels_last and job.device.type == "cpu":
        raise FastViTError("training with channels last crashes torch on a CPU")
    loading = Stopwatch()
    with loading.running():
        network, images = on_device(replace(job, dtype=torch.float32))
        network.train()
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

    return Bound(
        (forward, backward, optimizer.step),
        str(job.device),
        size_bytes(network),
        loading.nanoseconds,
        lambda: synchronize(job.device),
        (RuntimeError, MemoryError, ValueError),  # the last for a BatchNorm that sees a single value
    )
