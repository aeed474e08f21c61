"""A Core ML package run by Core ML itself, which only Apple's systems have."""

from typing import Any

import torch
from torch import Tensor

from fastvit_cli.errors import WorkFailedError
from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator


class CoreMLRuntime:
    """The package of an emulation, on the units that Core ML chooses; see `runtimes.base.Runtime`.

    A classifier gives probabilities there: their logarithms are its logits up to a constant for each image.

    Args:
        package: one that takes an image.

    Raises:
        WorkFailedError: Core ML refuses the package, now or when it predicts.
    """

    engine = "coreml"
    device_name = "Core ML"

    def __init__(self, package: CoreMLEvaluator) -> None:
        import coremltools

        self.info = package.info
        self._package = package
        description = package.description
        self._input = description.input[0].name
        self._output = description.predictedProbabilitiesName or description.output[0].name
        try:
            self._model: Any = coremltools.models.MLModel(str(package.path))
        except Exception as error:  # coremltools passes on whatever the system says
            raise self._refused(error) from error

    def logits(self, images: Tensor) -> Tensor:
        return torch.stack([self._predict(image) for image in self._package.to_pixels(images)])

    def _predict(self, pixels: Tensor) -> Tensor:
        import PIL.Image

        picture = PIL.Image.fromarray(pixels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
        try:
            values = self._model.predict({self._input: picture})[self._output]
        except Exception as error:  # as above
            raise self._refused(error) from error
        if self._package.labels is None:
            return torch.as_tensor(values).reshape(-1).float()
        probabilities = torch.tensor([float(values[label]) for label in self._package.labels])
        return probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()

    def _refused(self, error: Exception) -> WorkFailedError:
        reason = (str(error).splitlines() or [""])[0]
        return WorkFailedError(
            f"Core ML cannot run '{self._package.path}' ({reason}).", "Update macOS, or export the model again."
        )
