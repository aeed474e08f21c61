"""What a report shows of single images: every prediction, and the most confident mistakes as pictures."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fastvit_cli.data.images import Images
from fastvit_cli.data.thumbnails import thumbnail

GALLERY = 24


@dataclass(frozen=True)
class Prediction:
    """One image; probabilities are 0 to 1.

    Attributes:
        confidence: probability of the prediction.
        label_probability: probability of the right class.
    """

    image: str
    label: str
    prediction: str
    correct: bool
    confidence: float
    label_probability: float


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction with its picture, an upright JPEG of at most 224 px."""

    prediction: Prediction
    jpeg: bytes


class PredictionList:
    """Every prediction so far. The only part of an evaluation whose memory grows with the images.

    Args:
        images: the split they are of.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self.predictions: list[Prediction] = []
        self._mistakes: list[tuple[float, int, Prediction]] = []

    def add(self, logits: Tensor, labels: Tensor, indices: Sequence[int]) -> None:
        """Note one batch: logits (B, classes), labels (B,), and the place of each image in the split."""
        names = self._images.class_names
        probabilities = logits.double().softmax(1)
        confidences, predicted = probabilities.max(1)
        of_label = probabilities.gather(1, labels.unsqueeze(1)).flatten()
        rows = zip(indices, labels.tolist(), predicted.tolist(), confidences.tolist(), of_label.tolist(), strict=True)
        for index, label, best, confidence, label_probability in rows:
            name = self._images.name(index)
            row = Prediction(name, names[label], names[best], label == best, confidence, label_probability)
            self.predictions.append(row)
            if not row.correct:
                entry = (confidence, -index, row)
                heapq.heappush(self._mistakes, entry)
                if len(self._mistakes) > GALLERY:
                    heapq.heappop(self._mistakes)

    def gallery(self) -> tuple[Mistake, ...]:
        """The most confident mistakes, read once more, the surest first."""
        return tuple(
            Mistake(row, thumbnail(self._images, -place)) for _, place, row in sorted(self._mistakes, reverse=True)
        )
