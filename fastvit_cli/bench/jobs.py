"""What an engine is given to run: the network in the form that was asked for, its images, and how to run it."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from fastvit_cli.bench.bench_options import FORMS, BenchConfig
from fastvit_cli.bench.subjects import Case
from fastvit_cli.checkpoints.metadata import OTHER_VARIANT, ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all, reparameterize
from fastvit_cli.runtimes.bound import Job

_FUSE: dict[str, Callable[[nn.Module], nn.Module]] = {
    "unfused": copy.deepcopy,
    "branches": reparameterize,
    "all": fuse_all,
}


def job_of(config: BenchConfig, case: Case, label: str, device: torch.device) -> Job:
    """What an engine needs to run a case.

    Raises:
        FastViTError: a file that takes other sizes, or weights that are fused further.
    """
    info = info_of(case)
    size = info.preprocessing.img_size
    assert case.subject.info is not None
    ours = case.subject.info.variant != OTHER_VARIANT  # a file of another program may take any size: its engine knows
    if case.subject.path is not None and ours and case.subject.info != info:
        raise FastViTError(f"the file takes images of {case.subject.info.preprocessing.img_size} px alone")
    return Job(
        label=label,
        network=_in_form(case),
        path=case.subject.path,
        info=info,
        device=device,
        dtype=getattr(torch, case.dtype),
        images=_images(case.batch_size, size, config.seed),
        channels_last=config.channels_last,
        threads=torch.get_num_threads(),  # libraries that choose for themselves choose differently
        compute_units=case.compute_units,
        seed=config.seed,
    )


def info_of(case: Case) -> ModelInfo:
    """What the network of a case is, at the case's image size."""
    assert case.subject.info is not None
    return replace(case.subject.info, preprocessing=case.subject.info.preprocessing.at_size(case.img_size))


def shape_of(info: ModelInfo, form: str) -> nn.Module:
    """The network of an exported file, without its weights."""
    with torch.device("meta"):
        network = create_model(info.variant, num_classes=info.num_classes)
        return _FUSE[form](network)


def _images(batch_size: int, size: int, seed: int) -> Tensor:
    """Normalised images are about standard normal; the values do not change the work."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch_size, 3, size, size), generator=generator)


def _in_form(case: Case) -> nn.Module | None:
    """A copy of the network, fused as far as asked; None for a file.

    Raises:
        FastViTError: it is fused further than that already.
    """
    subject = case.subject
    if subject.network is None:
        return None
    if subject.peer is not None:
        network = copy.deepcopy(subject.network)
        if case.fuse == "unfused":
            return network
        from timm.utils.model import reparameterize_model

        fused: nn.Module = reparameterize_model(network, inplace=True)
        return fused
    assert subject.info is not None
    if FORMS.index(subject.info.form) > FORMS.index(case.fuse):
        raise FastViTError(
            f"its weights are fused already ({subject.info.form}): it cannot be timed as --fuse {case.fuse}"
        )
    return _FUSE[case.fuse](subject.network)
