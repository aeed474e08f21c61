"""Scoring many models: one row each, and no failure that stops the others."""

import glob
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fastvit_cli.checkpoints.files import WEIGHTS_SUFFIXES
from fastvit_cli.checkpoints.select import ModelSource, find_checkpoint, local_path, trained_on
from fastvit_cli.data.sources import choose_data
from fastvit_cli.errors import FastViTError, first_line
from fastvit_cli.evaluation.validate import Listeners, score
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.formats import CODE_SUFFIXES, EXPORTED_SUFFIXES, FOLDER_SUFFIXES, FORMATS
from fastvit_cli.runtimes.open import open_source

_SUFFIXES = frozenset(WEIGHTS_SUFFIXES + EXPORTED_SUFFIXES)
_NO_MODELS = frozenset(("state.pt",))  # what a run resumes from


@dataclass(frozen=True)
class ModelRow:
    """Scores of one model in percent, or the reason why there are none.

    Attributes:
        error: one line; the other fields that may be None are so exactly when it is set.
    """

    model: str
    error: str | None = None
    variant: str | None = None
    fused: bool | None = None
    engine: str | None = None
    data: str | None = None
    num_images: int | None = None
    top1: float | None = None
    top1_low: float | None = None
    top1_high: float | None = None
    top5: float | None = None
    loss: float | None = None
    images_per_second: float | None = None


@dataclass(frozen=True)
class BulkResult:
    """Rows sorted by top-1, the best first, failures last.

    Attributes:
        passed_over: files that were not opened, for they can run code.
    """

    rows: tuple[ModelRow, ...]
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Models:
    """What a folder or a glob holds: the models to score, and those that are not opened, for they can run code."""

    to_score: tuple[Path, ...]
    passed_over: tuple[Path, ...]


def models_of(ckpt: str | None, trust: bool = False) -> Models | None:
    """The models of a folder or a glob; None for what names a single one, such as a run folder.

    Args:
        trust: open those too that can run code.

    Raises:
        FastViTError: a folder or a glob without models that may be opened.
    """
    if ckpt is None:
        return None
    path = local_path(ckpt)
    if path.exists():
        if not path.is_dir() or path.suffix in FOLDER_SUFFIXES or find_checkpoint(path):
            return None
        found = [inside for inside in path.rglob("*") if _is_model(inside)]
    elif glob.has_magic(ckpt):
        matches = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 - a Path knows no absolute patterns
        found = [match for match in matches if _is_model(match) or find_checkpoint(match)]
    else:
        return None
    if not found:
        raise FastViTError(
            f"'{ckpt}' holds no model.", f"Models end in {', '.join(sorted(_SUFFIXES))}, or are run folders."
        )
    passed_over = tuple(sorted(path for path in found if path.suffix in CODE_SUFFIXES and not trust))
    to_score = tuple(sorted(set(found).difference(passed_over)))
    if not to_score:
        kinds = " and ".join(sorted({path.suffix for path in passed_over}))
        raise FastViTError(
            f"'{ckpt}' holds {kinds} files alone ({len(passed_over)}), which can run code when they are opened.",
            "Add --trust if you trust the authors of all of them.",
        )
    return Models(to_score, passed_over)


def _is_model(path: Path) -> bool:
    inside_package = any(parent.suffix in FOLDER_SUFFIXES for parent in path.parents)
    hidden = path.name.startswith(".")
    known = path.suffix in _SUFFIXES and path.name not in _NO_MODELS
    readable = path.is_file() or path.suffix in FOLDER_SUFFIXES  # of a pipe, reading might have no end
    return known and readable and _is_opened(path) and not inside_package and not hidden


def _is_opened(path: Path) -> bool:
    """Whether it is the one of several files of an export that is opened, and the others are there."""
    for row in FORMATS.values():
        if row.side_files and path.suffix in (row.suffix, *row.side_files):
            whole = all(path.with_suffix(suffix).is_file() for suffix in (row.suffix, *row.side_files))
            return whole == (path.suffix == row.suffix)
    return True


def validate_all(
    config: ValidateConfig,
    models: Models,
    device: torch.device,
    on_model: Callable[[str, int, int], None],
    listeners: Listeners,
) -> BulkResult:
    """Score each model as `validate` does, on the config's data or else on what it was trained on.

    Args:
        on_model: called with the name of a model, its place from 1, and their number.
    """
    rows = []
    for place, path in enumerate(models.to_score, start=1):
        on_model(str(path), place, len(models.to_score))
        try:
            rows.append(_row(config, path, device, listeners))
        except (FastViTError, MemoryError, RuntimeError, OSError) as error:  # RuntimeError is torch's for nearly all
            rows.append(ModelRow(str(path), error=_reason(error)))
    rows.sort(key=lambda row: (row.top1 is None, -(row.top1 or 0.0), row.model))
    return BulkResult(tuple(rows), tuple(map(str, models.passed_over)))


def _row(config: ValidateConfig, path: Path, device: torch.device, listeners: Listeners) -> ModelRow:
    file = find_checkpoint(path) or path
    source = ModelSource(str(path), path=file, prefer_ema=config.ema, ckpt_key=config.ckpt_key)
    opened = open_source(source, device, listeners.note, config.trust)
    data = choose_data(config.data, trained_on(file, opened.info))
    result = score(replace(config, report=None, compare=None), opened, data, str(path), listeners=listeners).result
    return ModelRow(
        model=result.model,
        variant=result.variant,
        fused=result.fused,
        engine=result.engine,
        data=result.data,
        num_images=result.num_images,
        top1=result.top1,
        top1_low=result.top1_low,
        top1_high=result.top1_high,
        top5=result.top5,
        loss=result.loss,
        images_per_second=result.images_per_second,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, FastViTError):
        return error.message
    return first_line(error)
