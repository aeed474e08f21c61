"""PyTorch, compiled by inductor."""

import logging

import torch
from torch import Tensor
from torch.nn import functional as F

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.devices import describe_device, is_out_of_memory, synchronize
from fastvit_cli.errors import FastViTError, WorkFailedError, first_line
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.bound import Bound, Job, Stopwatch, size_bytes
from fastvit_cli.runtimes.torch_profile import profile_torch
from fastvit_cli.runtimes.torch_runtime import on_device


class CompiledRuntime:
    """A network compiled for the first batch size that it sees; see `runtimes.base.Runtime`.

    Smaller batches are filled up, so that the last one of a data set does not compile again.
    """

    engine = "compile"

    def __init__(self, network: FastViT, info: ModelInfo, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.info = info
        self.device = device
        self.device_name = describe_device(device)
        self._batch_size = 0
        # It warns of a missing CUDA runtime even when it compiles for the CPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        self._compiled = torch.compile(self.network, options={"freezing": True})

    @torch.no_grad()  # inference mode keeps the compiler from freezing the weights
    def logits(self, images: Tensor) -> Tensor:
        """Logits of any number of images; the first call compiles.

        Raises:
            WorkFailedError: the network cannot be compiled here.
        """
        count = len(images)
        filled = max(self._batch_size, count)
        batch = F.pad(images, (0, 0, 0, 0, 0, 0, 0, filled - count))
        normalized = normalize(batch.to(self.device, non_blocking=True), self.info)
        try:
            out: Tensor = self._compiled(normalized)
        except RuntimeError as error:  # inductor's, when there is no compiler for C++ or Triton
            if is_out_of_memory(error):
                raise
            raise WorkFailedError(
                f"PyTorch cannot compile the network here ({first_line(error)}).",
                "Install a C++ compiler, make room where TMPDIR is, or pass --engine torch.",
            ) from error
        self._batch_size = filled  # not before: the caller tries again with fewer where memory ran out
        return out[:count].float().cpu()


def bind(job: Job) -> Bound:
    """A network compiled as a whole, in the first step, on a CPU with the weights frozen into the program.

    Raises:
        FastViTError: the network cannot be captured.
    """
    loading = Stopwatch()
    with loading.running():
        network, images = on_device(job)
        try:
            # A program of its own: torch keeps at most eight compilations of one forward function, and silently runs
            # a ninth network of the same class as it comes.
            program = torch.export.export(network, (images,)).module()
        except Exception as error:  # torch.export raises many types, none of them documented
            raise FastViTError(f"torch.export cannot capture it ({type(error).__name__})") from error
        frozen = job.device.type == "cpu"
        fast = torch.compile(program, fullgraph=True, dynamic=False, options={"freezing": True} if frozen else {})
        synchronize(job.device)
    return Bound(
        (lambda: fast(images),),
        str(job.device),
        size_bytes(network),
        loading.nanoseconds,
        lambda: synchronize(job.device),
        profile=lambda: profile_torch(fast, images, job.device, job.label),
    )
