"""Everything that is counted beside the scores, batch by batch."""

from pathlib import Path

from torch import Tensor

from fastvit_cli.data.images import Images
from fastvit_cli.data.loader import Batch
from fastvit_cli.distributed import World
from fastvit_cli.evaluation.calibration import CalibrationCounter
from fastvit_cli.evaluation.class_metrics import ClassCounter
from fastvit_cli.evaluation.comparison import PairCounter
from fastvit_cli.evaluation.label_files import RealLabels
from fastvit_cli.evaluation.predictions import PredictionList
from fastvit_cli.evaluation.results import ReportData
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.runtimes.base import Runtime


class EvaluationCounters:
    """The counters that a configuration asks for; only `listed` grows with the images, and is for reports alone.

    Args:
        images: the labelled split.
        runtime: the model that is validated.
        other: the one it is compared with.

    Raises:
        FastViTError: a bad file of ReaL labels.
    """

    def __init__(self, config: ValidateConfig, images: Images, runtime: Runtime, other: Runtime | None) -> None:
        self._images = images
        names = images.class_names
        self.classes = ClassCounter(len(names))
        self.calibration = CalibrationCounter()
        self.pair = None if other is None else PairCounter(runtime, other, names)
        self.listed = None if config.report is None else PredictionList(images)
        self.real = None
        if config.real_labels is not None:
            self.real = RealLabels(Path(config.real_labels).expanduser(), len(names))

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Count one batch and its logits (B, classes)."""
        self.classes.add(logits, batch.labels)
        self.calibration.add(logits, batch.labels)
        if self.real is not None:
            self.real.add(logits, [self._images.name(index) for index in batch.indices])
        if self.pair is not None:
            self.pair.add(batch.images, logits, batch.labels, lambda place: self._images.name(batch.indices[place]))
        if self.listed is not None:
            self.listed.add(logits, batch.labels, batch.indices)

    def add_up(self, world: World) -> None:
        """Take in what the other processes counted; pairs and lists are the work of one."""
        for counter in (self.classes, self.calibration, *(() if self.real is None else (self.real,))):
            counter.add_up(world)

    def report_data(self) -> ReportData | None:
        """What the pictures of a report show; None without one."""
        if self.listed is None:
            return None
        return ReportData(self.classes.confusion, tuple(self.listed.predictions), self.listed.gallery())
