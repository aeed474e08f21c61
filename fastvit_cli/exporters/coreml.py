"""Core ML: an ML program that takes an image as a phone has it, and names its class."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo
from fastvit_cli.errors import FastViTError, conversion_failed
from fastvit_cli.exporters.coreml_compress import (
    KEPT_IN_FLOAT32,
    compressed,
    compute_precision,
    layers_in_order,
    require_compression,
)
from fastvit_cli.exporters.coreml_package import make_reproducible, package_replaced_when_done
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.exporters.outputs import Calibration
from fastvit_cli.models.network import FastViT
from fastvit_cli.runtimes.checksum import BLANK, CHECKSUM_KEY, add_checksum
from fastvit_cli.runtimes.onnx_conversion import PixelNormalization
from fastvit_cli.runtimes.quiet import quiet_libraries
from fastvit_cli.runtimes.torch_runtime import TorchRuntime
from fastvit_cli.version import __version__

IMAGE_INPUT, TENSOR_INPUT = "image", "images"
CLASSIFIER_OUTPUTS = ("classLabel", "classLabel_probs")  # the names Apple's tools and Vision look for
LICENCE = "That of the weights it was exported from."
_PREVIEW = "com.apple.coreml.model.preview.type"
_DATE = "com.github.apple.coremltools.conversion_date"

_DESCRIPTIONS = {
    IMAGE_INPUT: "The image, RGB, {size} x {size}. It is normalised inside.",
    TENSOR_INPUT: "Images ({batch}, 3, {size}, {size}), RGB, (x / 255 - mean) / std with mean {mean} and std {std}.",
    "classLabel": "The most probable class.",
    "classLabel_probs": "The probability of each class.",
    "logits": "One logit for each of {classes} classes, before the softmax.",
    "embedding": "The pooled embedding.",
}


class _Packaged(nn.Module):
    """What the package computes: from its input to probabilities, logits or the embedding."""

    def __init__(self, network: FastViT, info: ModelInfo, config: ExportConfig) -> None:
        super().__init__()
        self.network = network
        # Core ML's image input scales all channels alike: the normalisation has to be part of the program.
        self.normalization = nn.Identity() if config.tensor_input else PixelNormalization(info.preprocessing)
        self.classifies = class_labels(info, config) is not None

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.network(self.normalization(image))
        return out.softmax(-1) if self.classifies else out


def class_labels(info: ModelInfo, config: ExportConfig) -> tuple[str, ...] | None:
    """The labels to write, None without a classifier.

    Core ML keys its probabilities by them, so a name that comes again gets its index.

    Raises:
        FastViTError: a name that Core ML cannot carry.

    >>> class_labels(info_with_names("crane", "swan", "crane"), config)
    ("crane", "swan", "crane (2)")
    """
    if info.class_names is None or config.logits:
        return None
    labels: list[str] = []
    taken: set[str] = set()
    for index, name in enumerate(info.class_names):
        if not name or not name.isprintable():  # lone surrogates, of file names that are no text, are not printable
            raise FastViTError(
                f"Core ML cannot carry the name of class {index}, {name!a}.",
                "Rename the class and train again, or pass --logits, which needs no names.",
            )
        label = name
        while label in taken:
            label = f"{label} ({index})"
        labels.append(label)
        taken.add(label)
    return tuple(labels)


def output_names(info: ModelInfo, config: ExportConfig) -> tuple[str, ...]:
    """Names of the package's outputs: of a classifier when the classes have names, else one."""
    if info.class_names is not None and not config.logits:
        return CLASSIFIER_OUTPUTS
    return ("logits",) if info.num_classes else ("embedding",)


def write(
    network: FastViT, info: ModelInfo, path: Path, config: ExportConfig, calibration: Calibration | None = None
) -> tuple[str, ...]:
    """Write an `.mlpackage`; it appears whole or not at all.

    Input `image`: RGB, H x W, or with `tensor_input` `images`: float32 (batch, 3, H, W), normalised. Outputs: see
    `output_names`. The metadata is one JSON text under `fastvit`, the checksum another entry.

    Raises:
        FastViTError: the folder cannot be written, a class name that Core ML cannot carry, or a missing library.
        WorkFailedError: conversion failed.
    """
    class_labels(info, config)  # raises before anything is begun
    if config.compress is not None:
        require_compression(config.compress)
    with package_replaced_when_done(path) as temporary, quiet_libraries():
        try:
            model, notes = convert(network, info, config), _precision_notes(config)
            if config.compress is not None:
                assert calibration is not None
                runtime = TorchRuntime(network, info, torch.device("cpu"))
                model, words = compressed(model, config.compress, runtime, calibration)
                notes = (words,)
        except Exception as error:  # see `conversion_failed`
            raise conversion_failed("coremltools could not convert the network", error) from error
        _describe(model, info, config)
        model.save(str(temporary))
        make_reproducible(temporary)
        add_checksum(temporary)
        return notes


def _precision_notes(config: ExportConfig) -> tuple[str, ...]:
    return (f"kept in fp32: {', '.join(KEPT_IN_FLOAT32)}",) if config.precision == "mixed" else ()


def _describe(model: Any, info: ModelInfo, config: ExportConfig) -> None:
    """What Xcode shows of the model, and what our own commands read."""
    kind = f"image classifier of {info.num_classes} classes" if info.num_classes else "image embedding"
    model.author, model.version, model.license = "fastvit", __version__, LICENCE
    model.short_description = f"FastViT-{info.variant.upper()}, {kind}"
    preprocessing = info.preprocessing
    values = {
        "size": preprocessing.img_size,
        "batch": config.batch_size,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "classes": info.num_classes,
    }
    name = TENSOR_INPUT if config.tensor_input else IMAGE_INPUT
    model.input_description[name] = _DESCRIPTIONS[name].format(**values)
    for name in output_names(info, config):
        model.output_description[name] = _DESCRIPTIONS[name].format(**values)
    properties = model.user_defined_metadata
    properties[METADATA_KEY] = info.to_json()
    properties[CHECKSUM_KEY] = BLANK
    if output_names(info, config) == CLASSIFIER_OUTPUTS and not config.tensor_input:
        properties[_PREVIEW] = "imageClassifier"
    if _DATE in properties:  # two exports of the same model are the same file
        del properties[_DATE]


def convert(network: FastViT, info: ModelInfo, config: ExportConfig) -> Any:
    """The network as a coremltools model, in memory. See `write`."""
    import coremltools as ct
    import numpy as np

    size = info.preprocessing.img_size
    shape = (config.batch_size, 3, size, size)
    exported = torch.export.export(_Packaged(network, info, config).eval(), (torch.zeros(shape),))
    given = (
        ct.TensorType(name=TENSOR_INPUT, shape=shape, dtype=np.float32)
        if config.tensor_input
        else ct.ImageType(name=IMAGE_INPUT, shape=shape, color_layout=ct.colorlayout.RGB)
    )
    labels = class_labels(info, config)
    head = (
        {"outputs": [ct.TensorType(name=output_names(info, config)[0], dtype=np.float32)]}
        if labels is None
        else {"classifier_config": ct.ClassifierConfig(list(labels))}
    )
    return ct.convert(
        exported.run_decompositions({}),  # the converter takes the inference dialect only
        inputs=[given],
        compute_precision=compute_precision(config.resolved_precision),
        minimum_deployment_target=getattr(ct.target, config.resolved_target),
        skip_model_load=True,
        **head,
    )


# How far the weights of a layer may be from the network's, as a share of their norm.
_WEIGHT_TOLERANCES = {"palettize8": 0.02, "palettize6": 0.06, "palettize4": 0.25, "int8": 0.05, "int4": 0.2}


def inspect(path: Path, info: ModelInfo, network: FastViT, config: ExportConfig) -> tuple[str, ...]:
    """What is wrong with interface and weights of the package as written; empty when nothing is."""
    from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator

    package = CoreMLEvaluator(path)
    size, description = info.preprocessing.img_size, package.description
    outputs = tuple(port.name for port in description.output)
    problems = [*_input_problems(description, size, config)]
    if outputs != output_names(info, config):
        problems.append(f"the outputs are {', '.join(outputs)}, not {', '.join(output_names(info, config))}")
    if package.labels != class_labels(info, config):
        problems.append("the class labels are not those of the model")
    if package.info.to_json() != info.to_json():
        problems.append("the metadata is not what was written")
    expected: list[Tensor] = []
    for layer in layers_in_order(network, size):
        expected += layer.parameters(recurse=False)
    problems += _weight_problems(package.weights(), expected, config.compress)
    return tuple(problems)


def _input_problems(description: Any, size: int, config: ExportConfig) -> tuple[str, ...]:
    inputs = [(port.name, port.type.WhichOneof("Type"), port.type) for port in description.input]
    name, kind, port = inputs[0]
    if config.tensor_input:
        shape = [config.batch_size, 3, size, size]
        found = list(port.multiArrayType.shape)
        same = (len(inputs), name, kind, found) == (1, TENSOR_INPUT, "multiArrayType", shape)
        return () if same else (f"the input is {name}, {kind} {found}, not an array of {shape}",)
    image = port.imageType
    if (len(inputs), name, kind, image.width, image.height) != (1, IMAGE_INPUT, "imageType", size, size):
        return (f"the input is {name}, {kind} {image.width}x{image.height}, not an image of {size}x{size}",)
    return () if image.colorSpace == image.RGB else ("the input image is not RGB",)


def _weight_problems(found: list[Tensor], expected: list[Tensor], compress: str | None) -> tuple[str, ...]:
    """Compare all weights with those of the network; comparing outputs would not see a few wrong ones."""
    shapes = [tuple(tensor.shape) for tensor in found]
    if shapes != [tuple(tensor.shape) for tensor in expected]:
        return (f"the package holds {len(found)} weight tensors, the network {len(expected)}, or of other shapes",)
    wrong = sum(not _same_weights(have, want, compress) for have, want in zip(found, expected, strict=True))
    return (f"{wrong} of {len(found)} weight tensors differ from the network's",) if wrong else ()


def _same_weights(found: Tensor, expected: Tensor, compress: str | None) -> bool:
    if compress is not None:
        distance = (found - expected).norm()
        return bool(distance <= _WEIGHT_TOLERANCES[compress] * expected.norm())
    # Half a unit in the last place of float16, and its smallest step, to which coremltools rounds whatever is smaller
    # and not zero. A float32 package is well within.
    return torch.allclose(found, expected, rtol=2**-11, atol=2**-24)
