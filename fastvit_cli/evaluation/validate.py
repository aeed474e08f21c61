"""Scoring one opened model on one split of a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fastvit_cli.data.images import Images
from fastvit_cli.data.loader import ImageLoader, LoaderOptions
from fastvit_cli.data.model_classes import match_classes, with_mapped_classes, with_model_classes
from fastvit_cli.data.orientation import lying_images
from fastvit_cli.data.samples import Unreadable
from fastvit_cli.data.sources import DataChoice, open_images
from fastvit_cli.data.transforms import evaluation_transform
from fastvit_cli.data.workers import resolve_workers, worker_death_explained
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.evaluation.calibration import (
    ReliabilityBin,
    expected_calibration_error,
    wilson_interval,
)
from fastvit_cli.evaluation.class_metrics import ClassScore, Confused, mean_f1
from fastvit_cli.evaluation.comparison import ComparedModels
from fastvit_cli.evaluation.counters import EvaluationCounters
from fastvit_cli.evaluation.evaluate import evaluate
from fastvit_cli.evaluation.label_files import RealScores, read_valid_labels
from fastvit_cli.evaluation.predictions import Mistake, Prediction, PredictionList
from fastvit_cli.evaluation.subset import SubsetRuntime, images_of
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import Runtime
from fastvit_cli.runtimes.engines import AUTO, TORCH, with_engine


@dataclass(frozen=True)
class ValidateResult:
    """Scores in percent (loss in nats) of one model on one split.

    Attributes:
        model: file or published name.
        fused: whether the file is.
        engine: what computed it.
        engine_reason: why, and how what ran differs from the file.
        own_form: it ran as it is in the file.
        device: where it really ran.
        top1_low, top1_high: 95 % interval of top1.
        mean_f1: over the classes that have images.
        calibration_error: expected, over the 15 bins of `reliability`.
        real: against ImageNet-ReaL's labels; None without them.
        comparison: with another model; None without one.
        data_wait: share of the time, 0 to 1, spent waiting for images.
        unreadable: images left out of the scores.
        deep: images of more than 8 bits, by what they were.
        passed_over: other files than images, by `passed_over.kind_of`.
        published_top1: ImageNet-1k top-1 that was published for these weights; None for others.
    """

    model: str
    variant: str
    fused: bool
    engine: str
    engine_reason: str
    own_form: bool
    device: str
    data: str
    split: str
    img_size: int
    preprocessing: Preprocessing
    num_images: int
    top1: float
    top1_low: float
    top1_high: float
    top5: float
    loss: float
    mean_f1: float
    calibration_error: float
    real: RealScores | None
    comparison: ComparedModels | None
    images_per_second: float
    data_wait: float
    unreadable: tuple[Unreadable, ...]
    deep: dict[str, int]
    passed_over: dict[str, int]
    published_top1: float | None
    classes: tuple[ClassScore, ...]
    most_confused: tuple[Confused, ...]
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class ReportData:
    """What a report shows beyond the result.

    Attributes:
        confusion: int64 (classes, classes), label by prediction; None above 2,000 classes.
        mistakes: the most confident ones.
    """

    confusion: Tensor | None
    predictions: tuple[Prediction, ...]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class Validation:
    """The result, and with `--report` what belongs to its pictures."""

    result: ValidateResult
    report: ReportData | None


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
    preprocessing = opened.info.preprocessing.at_size(config.img_size).with_exif(config.exif, otherwise=False)
    opened.info.check_classifier()
    images, allowed = _labelled_images(config, opened, data, tell)
    _tell_of_lying_images(config, opened, images, tell)
    if other is not None:
        _check_same_classes(opened, other)
        _tell_of_other_preprocessing(preprocessing, other.info.preprocessing, tell)
    chosen = with_engine(opened, _engine(config, opened), preprocessing.img_size, len(images))
    if tell.engine is not None:
        tell.engine(f"{chosen.runtime.engine} on {chosen.runtime.device_name} ({chosen.reason})")
    second = (
        None if other is None else with_engine(other, _engine(config, other), preprocessing.img_size, len(images))
    )
    runtime = _restricted(chosen.runtime, allowed)
    other_runtime = None if second is None else _restricted(second.runtime, allowed)
    counters = EvaluationCounters(config, images, runtime, other_runtime)
    options = LoaderOptions(
        preprocessing.img_size,
        config.batch_size,
        resolve_workers(config.workers, world.local_size),
        max_bad_images=config.max_bad_images,
        exif=bool(preprocessing.exif),
    )
    loader = ImageLoader(images, evaluation_transform(preprocessing, config.transforms), options, world)
    with worker_death_explained(options.workers):
        found = evaluate(runtime, loader, tell.progress, tell.unreadable, counters.add, tell.smaller_batch, world)
    counters.add_up(world)
    if found.scores.not_finite:
        raise WorkFailedError(
            f"'{model}' gives NaN or infinity for {found.scores.not_finite} of {found.scores.num_images:,} images.",
            "Pass a checkpoint from before its training diverged; where half precision overflows, a file in float32.",
        )
    scores, bins, classes = found.scores, counters.calibration.bins, counters.classes.scores(images.class_names)
    low, high = wilson_interval(round(scores.top1 * scores.num_images / 100.0), scores.num_images)
    result = ValidateResult(
        model=model,
        variant=opened.info.variant,
        fused=opened.info.fused,
        engine=runtime.engine,
        engine_reason=chosen.reason,
        own_form=chosen.own_form,
        device=runtime.device_name,
        data=data.name,
        split=config.split,
        img_size=preprocessing.img_size,
        preprocessing=preprocessing,
        num_images=scores.num_images,
        top1=scores.top1,
        top1_low=low,
        top1_high=high,
        top5=scores.top5,
        loss=scores.loss,
        mean_f1=mean_f1(classes),
        calibration_error=expected_calibration_error(bins),
        real=None if counters.real is None else counters.real.scores,
        comparison=None if counters.pair is None else counters.pair.result(str(config.compare)),
        images_per_second=found.images_per_second,
        data_wait=found.data_wait,
        unreadable=found.unreadable,
        deep=found.deep,
        passed_over=dict(images.passed_over),
        published_top1=published_top1,
        classes=classes,
        most_confused=counters.classes.most_confused(images.class_names),
        reliability=bins,
    )
    return Validation(result, None if counters.listed is None else _report_data(counters, counters.listed))


def _report_data(counters: EvaluationCounters, listed: PredictionList) -> ReportData:
    return ReportData(counters.classes.confusion, tuple(listed.predictions), listed.gallery())


def _labelled_images(
    config: ValidateConfig, opened: Runtime, data: DataChoice, tell: Listeners
) -> tuple[Images, tuple[int, ...] | None]:
    """The split, labelled by the classes that the model may choose from, and which those are; None for all."""
    info = opened.info
    images = open_images(data, config.split, config.class_map, tell.progress)
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


def _tell_of_lying_images(config: ValidateConfig, opened: Runtime, images: Images, tell: Listeners) -> None:
    """Say so where neither the file nor the user says whether images are turned upright, and it matters."""
    if tell.note is None or config.exif is not None or opened.info.preprocessing.exif is not None:
        return
    lying, looked_at = lying_images(images)
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
