"""Fusing the branches of a trained network into single convolutions, with the proof that nothing changed."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fastvit_cli.checkpoints.layouts import Naming
from fastvit_cli.checkpoints.load import LoadedModel, load_checkpoint
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.exporters.export_options import ReparamConfig
from fastvit_cli.exporters.fusion_proof import FusionProof, prove_fusion
from fastvit_cli.exporters.outputs import Step, choose_output
from fastvit_cli.models.cost import Cost, network_cost
from fastvit_cli.models.fusion import fuse_all, reparameterize


@dataclass(frozen=True)
class ReparamResult:
    """What `reparam` wrote and the proof.

    Attributes:
        output: the written file.
        layout: native, timm or reference.
        fuse: branches or all.
        params_before, params_after: parameters of the network.
        cost_before, cost_after: of one image at `img_size` px.
        size_before, size_after: bytes of the files; before is None for a model without a file.
        max_abs_error, passed: those of the proof.
    """

    output: str
    variant: str
    layout: str
    fuse: str
    img_size: int
    params_before: int
    params_after: int
    cost_before: Cost
    cost_after: Cost
    size_before: int | None
    size_after: int
    max_abs_error: float
    passed: bool
    proof: FusionProof


def fuse_and_prove(
    config: ReparamConfig,
    loaded: LoadedModel,
    images: Tensor | None = None,
    on_event: Callable[[Step], None] | None = None,
) -> ReparamResult:
    """Fuse, write with all metadata, open the file again and compare. Everything runs on the CPU.

    A file whose proof fails stays where it is, with `passed` False.

    Args:
        images: real ones for the proof, raw uint8 (B, 3, H, W), beside the random ones.
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
    reopened = load_checkpoint(output).network
    proof = prove_fusion(source, fuse, reopened, loaded.info, images, config.seed)
    img_size = loaded.info.preprocessing.img_size
    before, after = network_cost(source, img_size), network_cost(reopened, img_size)
    return ReparamResult(
        output=str(output),
        variant=loaded.info.variant,
        layout=config.layout,
        fuse=config.fuse,
        img_size=img_size,
        params_before=before.params,
        params_after=after.params,
        cost_before=before,
        cost_after=after,
        size_before=loaded.path.stat().st_size if loaded.path is not None else None,
        size_after=output.stat().st_size,
        max_abs_error=proof.max_abs_error,
        passed=proof.passed,
        proof=proof,
    )


def _check_something_changes(config: ReparamConfig, loaded: LoadedModel, naming: Naming) -> None:
    """Refuse a model that has the form and the names already, or that cannot go back to them."""
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
