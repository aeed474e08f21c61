"""Core ML itself, which only Apple's systems have."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvit_cli.errors import WorkFailedError
from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator
from fastvit_cli.runtimes.exported import check_size

_UNITS = {
    "MLNeuralEngineComputeDevice": "Neural Engine",
    "MLGPUComputeDevice": "GPU",
    "MLCPUComputeDevice": "CPU",
}


class CoreMLRuntime:
    """The package of an emulation, on the units that Core ML chooses; see `runtimes.base.Runtime`.

    A classifier gives probabilities there: their logarithms are its logits up to a constant for each image.

    Raises:
        FastViTError: images of another size than the package takes.
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
        check_size(images, self.info)
        batches = self._package.as_input(images).split(self._package.batch_size)
        return torch.cat([self._predict(batch)[: len(batch)] for batch in batches])

    def _predict(self, batch: Tensor) -> Tensor:
        try:
            values = self._model.predict({self._input: self._given(batch)})[self._output]
        except Exception as error:  # as above
            raise self._refused(error) from error
        if self._package.labels is None:
            return torch.as_tensor(values).reshape(self._package.batch_size, -1).float()
        probabilities = torch.tensor([[float(values[label]) for label in self._package.labels]])
        return probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()

    def _given(self, batch: Tensor) -> Any:
        """A picture, or an array of as many images as the package takes."""
        if not self._package.takes_image:
            return self._package.whole_batch(batch).numpy()
        import PIL.Image

        return PIL.Image.fromarray(batch[0].to(torch.uint8).permute(1, 2, 0).contiguous().numpy())

    def _refused(self, error: Exception) -> WorkFailedError:
        reason = (str(error).splitlines() or [""])[0]
        return WorkFailedError(
            f"Core ML cannot run '{self._package.path}' ({reason}).", "Update macOS, or export the model again."
        )


def compute_plan(path: Path) -> dict[str, float]:
    """Share of the operations, 0 to 1, that Core ML plans for each of Neural Engine, GPU and CPU.

    Empty where the system gives no plan: it is information, and no part of any check.
    """
    import coremltools
    from coremltools.models.compute_plan import MLComputePlan

    counts: Counter[str] = Counter()
    try:
        compiled = coremltools.models.utils.compile_model(str(path))
        plan = MLComputePlan.load_from_path(compiled)
        for operation in plan.model_structure.program.functions["main"].block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is not None:  # constants have none
                kind = type(usage.preferred_compute_device).__name__
                counts[_UNITS.get(kind, kind)] += 1
    except Exception:  # systems before macOS 14.4 have no plans, and say so in many ways
        return {}
    return {unit: count / counts.total() for unit, count in counts.most_common()}
