"""Scoring one opened model on one split of a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastvit_cli.data.images import Images
from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.model_classes import match_classes, with_mapped_classes, with_model_classes
from fastvit_cli.data.orientation_check import count_not_upright
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.data.sources import DataChoice, held_out_words, open_images
from fastvit_cli.data.transforms import evaluation_transform
from fastvit_cli.data.workers import resolve_workers, worker_death_explained
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.evaluation.calibration import (
    expected_calibration_error,
    wilson_interval,
)
from fastvit_cli.evaluation.class_metrics import mean_f1
from fastvit_cli.evaluation.counters import EvaluationCounters
from fastvit_cli.evaluation.evaluate import Evaluation, evaluate
from fastvit_cli.evaluation.label_files import read_valid_labels
from fastvit_cli.evaluation.results import ValidateResult, Validation
from fastvit_cli.evaluation.subset import SubsetRuntime, images_of
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.engines import AUTO, TORCH, Chosen, with_engine


@dataclass(frozen=True)
class Listeners:
    """Who is told what happens meanwhile.

    Attributes:
        progress: called with (class folders listed, their number), then with (images done, images in all).
        unreadable: called for an image that cannot be read, once.
        engine: called with what was chosen, before the first image.
        smaller_batch: called when the device is out of memory, with the images at once from now on.
        note: called with what was chosen, taken for granted or passed over, a sentence each.
    """

    progress: Callable[[int, int], None] | None = None
    unreadable: Callable[[Unreadable], None] | None = None
    engine: Callable[[str], None] | None = None
    smaller_batch: Callable[[int], None] | None = None
    note: Callable[[str], None] | None = None


def score(
    config: ValidateConfig,
    opened: Runtime,
    data: DataChoice,
    model: str,
    published_top1: float | None = None,
    other: Runtime | None = None,
    listeners: Listeners | None = None,
    world: World = ALONE,
) -> Validation:
    """Score every image of the split, preprocessed as the model's file says.

    Args:
        world: the processes that share the images, whose group is joined; the result is that of all.
        opened: the model as its file has it; `config.engine` may put it on another engine.
        other: the model of `config.compare`.

    Raises:
        FastViTError: no such split, classes the model does not know, too many unreadable images, a bad file of
            labels, models of other classes, or an engine that cannot run the model.
        WorkFailedError: a process that reads images was killed, the device has no memory for one image, or the
            logits of an image are not finite.
    """
    tell = listeners or Listeners()
    ready = _prepare(config, opened, other, data, tell)
    runtime = _restricted(ready.chosen.runtime, ready.allowed)
    other_runtime = None if ready.other is None else _restricted(ready.other.runtime, ready.allowed)
    counters = EvaluationCounters(config, ready.images, runtime, other_runtime)
    options = LoaderOptions(
        ready.preprocessing.img_size,
        config.batch_size,
        resolve_workers(config.workers, world.local_size),
        max_bad_images=config.max_bad_images,
        exif=bool(ready.preprocessing.exif),
    )
    transform = evaluation_transform(ready.preprocessing, config.transforms)
    loader = ImageLoader(ready.images, transform, options, world)
    with worker_death_explained(options.workers):
        found = evaluate(runtime, loader, tell.progress, tell.unreadable, counters.add, tell.smaller_batch, world)
    counters.add_up(world)
    if found.scores.not_finite:
        raise WorkFailedError(
            f"'{model}' gives NaN or infinity for {found.scores.not_finite} of {found.scores.num_images:,} images.",
            "Pass a checkpoint from before its training diverged; where half precision overflows, a file in float32.",
        )
    result = _result(config, opened, model, published_top1, data.name, ready, found, counters)
    return Validation(result, counters.report_data())


@dataclass(frozen=True)
class _Ready:
    """What is decided before the first image; `allowed` are the classes to choose from, None for all."""

    preprocessing: Preprocessing
    images: Images
    allowed: tuple[int, ...] | None
    chosen: Chosen
    other: Chosen | None


def _prepare(
    config: ValidateConfig, opened: Runtime, other: Runtime | None, data: DataChoice, tell: Listeners
) -> _Ready:
    preprocessing = opened.info.preprocessing.at_size(config.img_size).with_exif(config.exif, otherwise=False)
    opened.info.check_classifier()
    images, allowed = _labelled_images(config, opened, data, tell)
    _tell_of_images_not_upright(config, opened, images, tell)
    if other is not None:
        _check_same_classes(opened, other)
        _tell_of_other_preprocessing(preprocessing, other.info.preprocessing, tell)
    size, count = preprocessing.img_size, len(images)
    chosen = with_engine(opened, _engine(config, opened), size, count)
    if tell.engine is not None:
        tell.engine(f"{chosen.runtime.engine} on {chosen.runtime.device_name} ({chosen.reason})")
    second = None if other is None else with_engine(other, _engine(config, other), size, count)
    return _Ready(preprocessing, images, allowed, chosen, second)


def _result(
    config: ValidateConfig,
    opened: Runtime,
    model: str,
    published_top1: float | None,
    data: str,
    ready: _Ready,
    found: Evaluation,
    counters: EvaluationCounters,
) -> ValidateResult:
    scores = found.scores
    classes = counters.classes.scores(ready.images.class_names)
    low, high = wilson_interval(round(scores.top1 * scores.num_images / 100.0), scores.num_images)
    return ValidateResult(
        model=model,
        variant=opened.info.variant,
        fused=opened.info.fused,
        engine=ready.chosen.runtime.engine,
        engine_reason=ready.chosen.reason,
        own_form=ready.chosen.own_form,
        device=ready.chosen.runtime.device_name,
        data=data,
        split=config.split,
        img_size=ready.preprocessing.img_size,
        preprocessing=ready.preprocessing,
        num_images=scores.num_images,
        top1=scores.top1,
        top1_low=low,
        top1_high=high,
        top5=scores.top5,
        loss=scores.loss,
        mean_f1=mean_f1(classes),
        calibration_error=expected_calibration_error(counters.calibration.bins),
        real=None if counters.real is None else counters.real.scores,
        comparison=None if counters.pair is None else counters.pair.result(str(config.compare)),
        images_per_second=found.images_per_second,
        data_wait=found.data_wait,
        unreadable=found.unreadable,
        deep=found.deep,
        passed_over=dict(ready.images.passed_over),
        published_top1=published_top1,
        classes=classes,
        most_confused=counters.classes.most_confused(ready.images.class_names),
        reliability=counters.calibration.bins,
    )


def _labelled_images(
    config: ValidateConfig, opened: Runtime, data: DataChoice, tell: Listeners
) -> tuple[Images, tuple[int, ...] | None]:
    """The split, labelled by the classes that the model may choose from, and which those are; None for all."""
    info = opened.info
    images = open_images(data, config.split, config.class_map, tell.progress)
    held_out = held_out_words(data)
    if held_out and tell.note is not None:
        tell.note(f"{held_out} Scored is the {config.split} part of them.")
    if config.class_map is not None:
        images = with_mapped_classes(images, info.num_classes, info.class_names)
    else:
        match = match_classes(images, info.num_classes, info.class_names)
        images = with_model_classes(images, match)
        if match.assumed and tell.note is not None:
            tell.note(match.assumed)
    if config.valid_labels is None:
        return images, None
    allowed = read_valid_labels(Path(config.valid_labels).expanduser(), info.num_classes, info.class_names)
    return images_of(images, allowed, config.valid_labels), allowed


def _tell_of_other_preprocessing(shared: Preprocessing, others: Preprocessing, tell: Listeners) -> None:
    """Say so where the model to compare was made for other images; its mean and std are its own in any case."""
    wants = [
        f"{name} {getattr(others, name)}"
        for name in ("img_size", "crop_pct", "interpolation", "exif")
        if getattr(others, name) not in (None, getattr(shared, name))
    ]
    if wants and tell.note is not None:
        tell.note(f"The model to compare asks for {', '.join(wants)}; both see the images of the first model.")


def _tell_of_images_not_upright(config: ValidateConfig, opened: Runtime, images: Images, tell: Listeners) -> None:
    """Say so where neither the file nor the user says whether images are turned upright, and it matters."""
    if tell.note is None or config.exif is not None or opened.info.preprocessing.exif is not None:
        return
    lying, looked_at = count_not_upright(images)
    if lying:
        tell.note(
            f"By their EXIF orientation {lying} of {looked_at} images looked at are not upright. They are scored as "
            "they lie, as published accuracies were measured; --exif turns them."
        )


def _restricted(runtime: Runtime, allowed: tuple[int, ...] | None) -> Runtime:
    return runtime if allowed is None else SubsetRuntime(runtime, allowed)


def _engine(config: ValidateConfig, opened: Runtime) -> str:
    """The engine of one model. Compared are files as they are: two checkpoints, both folded, would always agree."""
    if config.compare is None:
        return config.engine
    if opened.engine != TORCH:
        return AUTO
    return TORCH if config.engine == AUTO else config.engine


def _check_same_classes(first: Runtime, other: Runtime) -> None:
    names, other_names = first.info.class_names, other.info.class_names
    if first.info.num_classes != other.info.num_classes:
        raise FastViTError(
            f"One model has {first.info.num_classes} classes, the one to compare {other.info.num_classes}.",
            "Pass --compare with a model of the same classes.",
        )
    if names is not None and other_names is not None and names != other_names:
        place = next(place for place, pair in enumerate(zip(names, other_names, strict=True)) if pair[0] != pair[1])
        raise FastViTError(
            f"The models name their classes differently: class {place} is '{names[place]}' to one, "
            f"'{other_names[place]}' to the other.",
            "Pass --compare with a model of the same classes in the same order.",
        )
