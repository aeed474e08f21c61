"""What scoring a model gives."""

from dataclasses import dataclass

from torch import Tensor

from fastvit_cli.data.samples import Unreadable
from fastvit_cli.evaluation.calibration import ReliabilityBin
from fastvit_cli.evaluation.class_metrics import ClassScore, Confused
from fastvit_cli.evaluation.comparison import ComparedModels
from fastvit_cli.evaluation.label_files import RealScores
from fastvit_cli.evaluation.predictions import Mistake, Prediction
from fastvit_cli.models.preprocessing import Preprocessing


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
