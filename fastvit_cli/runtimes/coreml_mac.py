"""Core ML itself, which only Apple's systems have."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastvit_cli.errors import WorkFailedError
from fastvit_cli.runtimes.base import normalize

if TYPE_CHECKING:
    from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator

_UNITS = {
    "MLNeuralEngineComputeDevice": "Neural Engine",
    "MLGPUComputeDevice": "GPU",
    "MLCPUComputeDevice": "CPU",
}


def predict(path: Path, images: Tensor) -> Tensor:
    """Let Core ML run a package on raw images, by whichever of CPU, GPU and Neural Engine it chooses.

    Args:
        images: (B, 3, H, W), RGB, uint8.

    Returns:
        float32 (B, C): a classifier's probabilities in the order of its labels, else logits or the embedding.

    Raises:
        WorkFailedError: Core ML refuses the package.
    """
    import coremltools

    from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator

    package = CoreMLEvaluator(path)
    rows: list[Tensor] = []
    try:
        model = coremltools.models.MLModel(str(path))
        for batch in images.split(package.batch_size):
            outputs = model.predict(_inputs(batch, package))
            if package.labels is None:
                (values,) = outputs.values()
                rows += torch.as_tensor(values).reshape(package.batch_size, -1).float()[: len(batch)]
            else:
                probabilities = outputs["classLabel_probs"]
                rows.append(torch.tensor([float(probabilities[label]) for label in package.labels]))
    except Exception as error:  # coremltools passes on whatever the system says
        reason = (str(error).splitlines() or [""])[0]
        raise WorkFailedError(f"Core ML cannot run '{path}' ({reason}).", "Update macOS, or export again.") from error
    return torch.stack(rows)


def _inputs(batch: Tensor, package: "CoreMLEvaluator") -> dict[str, Any]:
    """What Core ML's predict takes: a picture, or an array that repeats the last image where the batch is short."""
    import PIL.Image

    if package.takes_image:
        return {"image": PIL.Image.fromarray(batch[0].permute(1, 2, 0).contiguous().numpy())}
    missing = package.batch_size - len(batch)
    whole = torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
    return {"images": normalize(whole, package.info).numpy()}


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
