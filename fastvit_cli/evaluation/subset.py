"""`--valid-labels`: a model that may only choose among some of its classes."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fastvit_cli.data.images import Images
from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import Runtime


class SubsetRuntime:
    """Another runtime with the logits of some of its classes. See `runtimes.base.Runtime`."""

    def __init__(self, runtime: Runtime, classes: tuple[int, ...]) -> None:
        self._runtime = runtime
        self._classes = torch.tensor(classes)
        self.engine = runtime.engine
        self.device_name = runtime.device_name
        names = runtime.info.class_names
        some = None if names is None else tuple(names[index] for index in classes)
        self.info = replace(runtime.info, num_classes=len(classes), class_names=some)

    def logits(self, images: Tensor) -> Tensor:
        return self._runtime.logits(images)[:, self._classes]


def images_of(images: Images, classes: tuple[int, ...], where: str) -> Images:
    """The same images with labels that index `classes`.

    Raises:
        FastViTError: images of other classes.
    """
    positions = np.full(len(images.class_names), -1, dtype=np.int32)
    positions[list(classes)] = np.arange(len(classes), dtype=np.int32)
    labels = positions[images.labels]
    if (labels < 0).any():
        name = images.class_names[int(images.labels[int(np.argmin(labels))])]
        raise FastViTError(
            f"'{images.where}' holds images of '{name}', which '{where}' does not allow.",
            "Add the class to --valid-labels, or pass the data of the subset.",
        )
    return images.relabelled(tuple(images.class_names[index] for index in classes), labels)
