"""Which model is meant: a file, else published or random weights of a variant, else the newest run."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fastvit_cli.checkpoints.hub import FOLDER_PREFIX, HUB_PREFIX, HubModel, load_hub, published_model
from fastvit_cli.checkpoints.hub_folder import CONFIG as HUB_CONFIG
from fastvit_cli.checkpoints.hub_folder import weights_in
from fastvit_cli.checkpoints.layouts import Layout
from fastvit_cli.checkpoints.load import LoadedModel, load_checkpoint
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError, closest
from fastvit_cli.formats import FOLDER_SUFFIXES, Format, format_of
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.options import ModelConfig, TrainedData
from fastvit_cli.yaml_files import read_yaml_file

RUNS = Path("runs")
LATEST = "latest"
BEST, LAST, CONFIG = "best.safetensors", "last.safetensors", "config.yaml"
_THREE_WAYS = "Pass --ckpt FILE, or --variant NAME --pretrained, or train one first: fastvit train."


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: exactly one of `path`, `hub`, `random_variant` is set.

    Attributes:
        reason: for the user to read.
        prefer_ema: take the EMA weights where the file holds both.
        ckpt_key: the name of the network in a file that holds several.
        wanted_variant: what file or published weights must turn out to be; None for any.
        seed: of random weights.
    """

    reason: str
    path: Path | None = None
    hub: HubModel | None = None
    random_variant: str | None = None
    prefer_ema: bool = True
    ckpt_key: str | None = None
    wanted_variant: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What to call the model in a line of text."""
        if self.path is not None:
            return str(self.path)
        return self.hub.timm_name if self.hub is not None else f"fastvit_{self.random_variant}"

    @property
    def exported(self) -> Format | None:
        """The format of an exported file; None for weights."""
        return None if self.path is None else format_of(self.path)


def select_source(config: ModelConfig, *, random_allowed: bool, default_variant: str | None = None) -> ModelSource:
    """Which model is meant: --ckpt, else --variant, else the newest run.

    Args:
        random_allowed: whether `--variant` without weights is a model for this command.
        default_variant: what is taken with random weights when nothing is named and there is no run.

    Raises:
        FastViTError: nothing that can be meant; names the three ways.
    """
    source = _select(config, random_allowed, default_variant)
    if config.ckpt_key is not None and (source.path is None or source.exported is not None):
        raise FastViTError(
            "--ckpt-key names a network in a weights file, and none is read here.",
            "Pass --ckpt with the file, or leave it out.",
        )
    wanted = None if config.variant is None else get_variant(config.variant).name
    return replace(source, prefer_ema=config.ema, ckpt_key=config.ckpt_key, wanted_variant=wanted)


def _select(config: ModelConfig, random_allowed: bool, default_variant: str | None) -> ModelSource:
    if config.ckpt is not None:
        if config.pretrained is not None:
            raise FastViTError("Both --ckpt and --pretrained name weights.", "Pass one of them.")
        return _named_checkpoint(config.ckpt)
    if config.variant is not None:
        variant = get_variant(config.variant).name
        if config.pretrained is not None:
            return ModelSource("--pretrained", hub=published_model(variant, config.pretrained))
        if random_allowed:
            return ModelSource("random weights", random_variant=variant, seed=config.seed)
        raise FastViTError(f"--variant {config.variant} alone has no trained weights.", _THREE_WAYS)
    if config.pretrained is not None:
        raise FastViTError("--pretrained needs --variant.", "Add --variant with one of the family, such as t8.")
    run = newest_run()
    if run is not None:
        return ModelSource(f"the newest run, {run}", path=checkpoint_in(run))
    if default_variant is not None:
        return ModelSource("random weights", random_variant=default_variant, seed=config.seed)
    raise FastViTError(f"No model is named, and there is no run under '{RUNS}/'.", _THREE_WAYS)


def _named_checkpoint(ckpt: str) -> ModelSource:
    if ckpt == LATEST:
        run = newest_run()
        if run is None:
            raise FastViTError(f"There is no run under '{RUNS}/' to take the latest of.", _THREE_WAYS)
        return ModelSource(f"the newest run, {run}", path=checkpoint_in(run))
    if ckpt.startswith(HUB_PREFIX):
        return ModelSource("--ckpt", hub=HubModel(ckpt))
    path = local_path(ckpt)
    if path.is_dir() and path.suffix not in FOLDER_SUFFIXES:
        return ModelSource("--ckpt", path=checkpoint_in(path))
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FastViTError(f"There is no file '{ckpt}'.", f"{closest(path.name, siblings)}{_THREE_WAYS}")
    return ModelSource("--ckpt", path=path)


def newest_run(files: tuple[str, ...] = (BEST, LAST)) -> Path | None:
    """The folder, at any depth below `runs/`, where one of these files was written last; None when there is none."""
    written = [path for folder in _folders_of_runs() for name in files if (path := folder / name).is_file()]
    return max(written, key=lambda path: path.stat().st_mtime).parent if written else None


def _folders_of_runs() -> Iterator[Path]:
    """`runs/` and all folders below it, through links to other disks too, each once."""
    seen = set()
    for folder, inside, _ in os.walk(RUNS, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inside.clear()  # a link to where the walk has been: it might never end
            continue
        seen.add(real)
        yield Path(folder)


def local_path(name: str) -> Path:
    """A path as the user writes it, or timm's `local-dir:FOLDER`."""
    return Path(name.removeprefix(FOLDER_PREFIX)).expanduser()


def checkpoint_in(folder: Path) -> Path:
    """The weights that a folder stands for, as `find_checkpoint`.

    Raises:
        FastViTError: it stands for none.
    """
    found = find_checkpoint(folder)
    if found is None:
        raise FastViTError(
            f"'{folder}' holds no model: neither {BEST} nor {LAST} of a run, nor a {HUB_CONFIG} beside weights.",
            _THREE_WAYS,
        )
    return found


def find_checkpoint(folder: Path) -> Path | None:
    """The weights that a folder stands for: the best ones of a run, else its last; those of a folder of timm's."""
    run = next((folder / name for name in (BEST, LAST) if (folder / name).is_file()), None)
    return run or weights_in(folder)


def load_source(source: ModelSource, num_classes: int | None = None) -> LoadedModel:
    """Load weights from a file or the hub, or draw random ones.

    Args:
        num_classes: classes of a random model; None for those of the published head.

    Raises:
        FastViTError: whatever is wrong with the file, or it is of another variant than `--variant` names.
    """
    if source.path is not None:
        loaded = load_checkpoint(source.path, source.prefer_ema, source.ckpt_key)
    elif source.hub is not None:
        loaded = load_hub(source.hub)
    else:
        assert source.random_variant is not None
        loaded = random_model(source.random_variant, num_classes, source.seed)
    check_variant(source, loaded.info)
    return loaded


def trained_on(path: Path | None, info: ModelInfo) -> TrainedData | None:
    """The data set a model was trained on; None where nothing says.

    Exported files are given to others and do not name a folder; the run folder they still lie in does.
    """
    said: object = {**info.recipe, "data": info.data}
    if info.data is None and path is not None:
        try:
            said = read_yaml_file(path.parent / CONFIG)
        except (OSError, FastViTError):
            return None
    data, val_split = (said.get("data"), said.get("val_split")) if isinstance(said, dict) else (None, None)
    return TrainedData(data, val_split if isinstance(val_split, float) else None) if isinstance(data, str) else None


def check_variant(source: ModelSource, info: ModelInfo) -> None:
    """Refuse a model of another variant than `--variant` names.

    Raises:
        FastViTError: the model is of another variant than `--variant` names.
    """
    if source.wanted_variant not in (None, info.variant):
        raise FastViTError(
            f"'{source.name}' is a fastvit_{info.variant}, not a fastvit_{source.wanted_variant}.",
            f"Leave --variant out, or pass --variant {info.variant}.",
        )


def random_model(variant: str, num_classes: int | None, seed: int = 0) -> LoadedModel:
    """A network with random weights, with the published preprocessing of its variant."""
    row = get_variant(variant)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_model(variant, num_classes=num_classes).eval()
    info = ModelInfo(row.name, "unfused", network.num_classes, default_preprocessing(row))
    return LoadedModel(network, info, Layout("native", "unfused", row, network.num_classes), path=None)
