"""Core ML itself, which only Apple's systems have."""

from pathlib import Path

import torch
from torch import Tensor

from fastvit_cli.errors import WorkFailedError


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
    import PIL.Image

    from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator

    labels = CoreMLEvaluator(path).labels
    rows = []
    try:
        model = coremltools.models.MLModel(str(path))
        for image in images:
            picture = PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
            outputs = model.predict({"image": picture})
            if labels is None:
                (values,) = outputs.values()
                rows.append(torch.as_tensor(values).reshape(-1).float())
            else:
                probabilities = outputs["classLabel_probs"]
                rows.append(torch.tensor([float(probabilities[label]) for label in labels]))
    except Exception as error:  # coremltools passes on whatever the system says
        reason = (str(error).splitlines() or [""])[0]
        raise WorkFailedError(f"Core ML cannot run '{path}' ({reason}).", "Update macOS, or export again.") from error
    return torch.stack(rows)
