"""Fusing the branches of a trained network into single convolutions, with the proof that nothing changed."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.layouts import Naming
from fastvit_cli.checkpoints.load import LoadedModel, load_checkpoint
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters.config import ReparamConfig
from fastvit_cli.exporters.outputs import Step, choose_output
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.models.network import FastViT

# Shares of the largest logit. Fusion is exact, so in float64 only summation orders differ (measured: below 1e-14).
# The float32 file is that plus one rounding of every fused weight (measured: below 1e-6).
FLOAT64_TOLERANCE = 1e-10
FILE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class ReparamResult:
    """What `reparam` wrote and the proof.

    Attributes:
        output: the written file.
        layout: native, timm or reference.
        fuse: branches or all.
        params_before, params_after: parameters of the network.
        size_before, size_after: bytes of the files; before is None for a model without a file.
        max_abs_error: largest difference of a logit between the written file, opened again, and the source.
        relative_error: the same as a share of the largest logit.
        fusion_error_float64: difference of the fusion alone, computed in float64, as a share of the largest logit.
        passed: both are within rounding.
    """

    output: str
    variant: str
    layout: str
    fuse: str
    params_before: int
    params_after: int
    size_before: int | None
    size_after: int
    max_abs_error: float
    relative_error: float
    fusion_error_float64: float
    passed: bool


def reparam(
    config: ReparamConfig, loaded: LoadedModel, on_event: Callable[[Step], None] | None = None
) -> ReparamResult:
    """Fuse, write with all metadata, open the file again and compare. Everything runs on the CPU.

    A file whose proof fails stays where it is, with `passed` False.

    Args:
        on_event: called with a `Step` as each part begins.

    Raises:
        FastViTError: nothing to change, or the output exists or cannot be written.
    """
    step = on_event or (lambda _: None)
    naming: Naming = "reference" if config.layout == "reference" else "native"
    _check_something_changes(config, loaded, naming)
    ending = "_fused.safetensors" if config.fuse == "branches" else "_allfused.safetensors"
    output = choose_output(config.output, loaded, ending, config.force)
    fuse = reparameterize if config.fuse == "branches" else fuse_all
    source = loaded.network.cpu().eval()

    step(Step("Fusing"))
    fused = fuse(source)
    step(Step(f"Writing {output.name}"))
    save_checkpoint(output, fused, loaded.info, naming)
    step(Step("Proving that nothing changed"))
    batches = _random_batches(loaded.info.preprocessing.img_size, config.seed)
    reopened = load_checkpoint(output).network
    max_abs_error, largest = _difference(source, reopened, batches)
    with _one_thread():
        double = copy.deepcopy(source).double()
        error64, largest64 = _difference(double, fuse(double), [batch.double() for batch in batches])
    return ReparamResult(
        output=str(output),
        variant=loaded.info.variant,
        layout=config.layout,
        fuse=config.fuse,
        params_before=_parameters(source),
        params_after=_parameters(reopened),
        size_before=loaded.path.stat().st_size if loaded.path is not None else None,
        size_after=output.stat().st_size,
        max_abs_error=max_abs_error,
        relative_error=max_abs_error / largest,
        fusion_error_float64=error64 / largest64,
        passed=max_abs_error <= FILE_TOLERANCE * largest and error64 <= FLOAT64_TOLERANCE * largest64,
    )


def _check_something_changes(config: ReparamConfig, loaded: LoadedModel, naming: Naming) -> None:
    """
    Raises:
        FastViTError: the model is already in the form and under the names that were asked for, or cannot go back.
    """
    form, where = loaded.layout.form, f"'{loaded.path}'" if loaded.path else "The model"
    if form == "all":
        raise FastViTError(
            f"{where} is all fused already; there is no way back from it.", "Pass the checkpoint it was made from."
        )
    if form == config.fuse and naming == loaded.layout.naming:
        others = "--fuse all" if naming == "reference" else "--fuse all or --layout reference"
        raise FastViTError(
            f"{where} is fused already: there is nothing to change.", f"Pass an unfused checkpoint, or {others}."
        )


def _random_batches(img_size: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, img_size, img_size, generator=generator) for _ in range(2)]


@torch.inference_mode()
def _difference(first: FastViT, second: FastViT, batches: list[Tensor]) -> tuple[float, float]:
    """Largest difference of a logit, and the largest logit of `first`; NaN where one of them is."""
    expected = torch.cat([first(batch) for batch in batches])
    found = torch.cat([second(batch) for batch in batches])
    return (expected - found).abs().max().item(), expected.abs().max().item()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """float64 convolutions have no fast kernels, and busy cores slow their threads further."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
