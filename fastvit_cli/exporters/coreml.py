"""Core ML: an ML program that takes an image as a phone has it, and names its class."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.errors import FastViTError, WorkFailedError
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.quiet import quiet_libraries
from fastvit_cli.version import __version__

INPUT = "image"
CLASSIFIER_OUTPUTS = ("classLabel", "classLabel_probs")  # the names Apple's tools and Vision look for


class _FromPixels(nn.Module):
    """Pixels (1, 3, H, W) of 0 to 255 to what the exported model gives: probabilities, logits or the embedding.

    Core ML's image input scales all channels alike, and zero padding comes after the normalisation, so the
    normalisation cannot be folded away. It is written as (x - 255 mean) * 1 / (255 std): whole numbers up to
    255 are exact in float16, x / 255 is not.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: FastViT, info: ModelInfo) -> None:
        super().__init__()
        self.network = network
        mean = torch.tensor(info.preprocessing.mean, dtype=torch.float64).reshape(1, 3, 1, 1)
        std = torch.tensor(info.preprocessing.std, dtype=torch.float64).reshape(1, 3, 1, 1)
        self.register_buffer("mean", (255.0 * mean).float())
        self.register_buffer("scale", (1.0 / (255.0 * std)).float())
        self.classifies = info.class_names is not None

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.network((image - self.mean) * self.scale)
        return out.softmax(-1) if self.classifies else out


def class_labels(info: ModelInfo) -> tuple[str, ...] | None:
    """The labels to write: Core ML keys its probabilities by them, so a name that comes again gets its index.

    >>> class_labels(info_with_names("crane", "swan", "crane"))
    ("crane", "swan", "crane (2)")
    """
    if info.class_names is None:
        return None
    seen: set[str] = set()
    labels = []
    for index, name in enumerate(info.class_names):
        labels.append(f"{name} ({index})" if name in seen else name)
        seen.add(name)
    return tuple(labels)


def output_names(info: ModelInfo) -> tuple[str, ...]:
    """Names of the package's outputs: of a classifier when the classes have names, else one."""
    if info.class_names is not None:
        return CLASSIFIER_OUTPUTS
    return ("logits",) if info.num_classes else ("embedding",)


def write(network: FastViT, info: ModelInfo, path: Path, precision: str) -> None:
    """Write an `.mlpackage`; it appears whole or not at all.

    Input `image`: RGB, H x W. Outputs: see `output_names`. The metadata is one JSON text under `fastvit`.

    Raises:
        FastViTError: the folder cannot be written.
        WorkFailedError: conversion failed.
    """
    with _package_replaced_when_done(path) as temporary, quiet_libraries():
        try:
            model = _convert(network, info, precision)
        except Exception as error:  # coremltools raises many types here, none of them documented
            raise WorkFailedError(
                f"coremltools could not convert the network ({type(error).__name__}).",
                "Run again with --verbose and report the traceback.",
            ) from error
        model.author = "fastvit"
        model.version = __version__
        model.short_description = f"FastViT-{info.variant.upper()}, {_what_it_gives(info)}"
        model.user_defined_metadata[METADATA_KEY] = info.to_json()
        model.save(str(temporary))


def _what_it_gives(info: ModelInfo) -> str:
    return f"image classifier of {info.num_classes} classes" if info.num_classes else "image embedding"


def _convert(network: FastViT, info: ModelInfo, precision: str) -> Any:
    import coremltools as ct
    import numpy as np

    size = info.preprocessing.img_size
    shape = (1, 3, size, size)
    exported = torch.export.export(_FromPixels(network, info).eval(), (torch.zeros(shape),))
    labels = class_labels(info)
    head = (
        {"outputs": [ct.TensorType(name=output_names(info)[0], dtype=np.float32)]}
        if labels is None
        else {"classifier_config": ct.ClassifierConfig(list(labels))}
    )
    return ct.convert(
        exported.run_decompositions({}),  # the converter takes the inference dialect only
        inputs=[ct.ImageType(name=INPUT, shape=shape, color_layout=ct.colorlayout.RGB)],
        compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
        **head,
    )


@contextlib.contextmanager
def _package_replaced_when_done(path: Path) -> Iterator[Path]:
    """As `atomic.replaced_when_done`, for a folder: an old package goes when the new one is complete."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise FastViTError(
            f"Cannot write to '{path.parent}' ({error.strerror}).", "Pass --output with a folder you may write."
        ) from error
    try:
        yield workplace / path.name
        if path.exists():  # a folder cannot be renamed onto another one
            path.rename(workplace / "old")
        try:
            (workplace / path.name).rename(path)
        except OSError:
            if (workplace / "old").exists():
                (workplace / "old").rename(path)
            raise
    except OSError as error:
        raise FastViTError(
            f"Writing '{path}' failed ({error.strerror}).", "Free some space or pass another --output."
        ) from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def inspect(path: Path, info: ModelInfo, network: FastViT) -> tuple[str, ...]:
    """What is wrong with interface and weights of the package as written; empty when nothing is."""
    from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator

    package = CoreMLEvaluator(path)
    size, description = info.preprocessing.img_size, package.description
    inputs = [(port.name, port.type.WhichOneof("Type"), port.type.imageType) for port in description.input]
    outputs = tuple(port.name for port in description.output)
    problems = []
    name, kind, image = inputs[0]
    if (len(inputs), name, kind, image.width, image.height) != (1, INPUT, "imageType", size, size):
        problems.append(f"the input is {name}, {kind} {image.width}x{image.height}, not an image of {size}x{size}")
    elif image.colorSpace != image.RGB:
        problems.append("the input image is not RGB")
    if outputs != output_names(info):
        problems.append(f"the outputs are {', '.join(outputs)}, not {', '.join(output_names(info))}")
    if package.labels != class_labels(info):
        problems.append("the class labels are not those of the model")
    if package.info.to_json() != info.to_json():
        problems.append("the metadata is not what was written")
    return (*problems, *_weight_problems(package.weights(), _weights_in_order(network, size)))


def _weight_problems(found: list[Tensor], expected: list[Tensor]) -> tuple[str, ...]:
    """Compare all weights with those of the network; comparing outputs would not see a few wrong ones."""
    shapes = [tuple(tensor.shape) for tensor in found]
    if shapes != [tuple(tensor.shape) for tensor in expected]:
        return (f"the package holds {len(found)} weight tensors, the network {len(expected)}, or of other shapes",)
    # Half a unit in the last place of float16, and its smallest step, to which coremltools rounds whatever is smaller
    # and not zero. A float32 package is well within.
    wrong = sum(
        not torch.allclose(have, want, rtol=2**-11, atol=2**-24) for have, want in zip(found, expected, strict=True)
    )
    return (f"{wrong} of {len(found)} weight tensors differ from the network's",) if wrong else ()


@torch.inference_mode()
def _weights_in_order(network: FastViT, size: int) -> list[Tensor]:
    """Weight and bias of every layer, in the order in which they are computed."""
    tensors: list[Tensor] = []

    def note(layer: nn.Module, *_: object) -> None:
        tensors.extend(layer.parameters(recurse=False))

    hooks = [
        layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    network(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return tensors
