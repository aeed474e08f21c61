"""Core ML programs without a Mac: the saved file, run operation by operation in PyTorch.

Core ML itself only predicts on Apple's systems. What this gives is the numbers of the program as saved, with
every intermediate rounded to the type the program declares; not the order of summation of any Apple chip, and
nothing about speed.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import METADATA_KEY, OTHER_VARIANT, ModelInfo
from fastvit_cli.compat import read_mil_program
from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import require_modules
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.exported import check_file, check_size, read_info, to_pixels, unreadable
from fastvit_cli.runtimes.mil_operations import OPERATIONS, constant
from fastvit_cli.runtimes.quiet import quiet_libraries

_KEEPS_THE_ORDER = ("cast", "reshape", "squeeze")


@dataclass(frozen=True)
class Instruction:
    """One operation, ready to run: constants converted, other inputs by name."""

    operation: str
    function: Callable[..., Tensor | tuple[Tensor, ...]]
    constants: dict[str, object]
    inputs: dict[str, str]
    outputs: tuple[tuple[str, bool], ...]  # name, and whether it is float16


class CoreMLEvaluator:
    """A Core ML image classifier, or any package that `fastvit export` wrote. See `runtimes.base.Runtime`.

    Weights that coremltools has palettised, quantised or pruned are expanded, as Core ML does when it loads them. A
    package of another program is taken for a classifier of raw RGB images, preprocessed as the published models are.

    Attributes:
        labels: class names of a classifier, in the order of the logits; None without.
        num_operations: besides constants.
        takes_image: pixels, which the program normalises; else normalised images.
        batch_size: images at once, fixed.
        description: the model description of the specification: inputs, outputs, metadata.

    Raises:
        FastViTError: no such package, not an ML program, without our metadata and no image classifier, or with
            an operation that is not known here.
    """

    engine = "coreml-emulated"
    device_name = "cpu"

    def __init__(self, path: Path, _device: torch.device | None = None) -> None:
        check_file(path, "Core ML")
        with quiet_libraries():
            spec, program = _read(path)
        self.path = path
        self.device = torch.device("cpu")
        self.description: Any = spec.description
        (function,) = program.functions.values()
        operations = [operation for operation in function.operations if operation.op_type != "const"]
        classify = next((operation for operation in operations if operation.op_type == "classify"), None)
        self.labels: tuple[str, ...] | None = None if classify is None else tuple(map(str, classify.classes.val))
        properties = dict(spec.description.metadata.userDefined)
        foreign = METADATA_KEY not in properties
        self.info: ModelInfo = (
            _info_of_classifier(path, spec.description, self.labels) if foreign else read_info(path, properties)
        )
        if classify is None:
            (output,) = function.outputs
            self._logits = output.name
        else:
            self._logits = _logits_before(classify.probabilities, len(classify.classes.val))
        self._instructions = prepare([operation for operation in operations if operation is not classify])
        self.num_operations = len(self._instructions) + (classify is not None)
        ((self._input, shape),) = ((name, var.shape) for name, var in function.inputs.items())
        self.batch_size = int(shape[0])
        self.takes_image = spec.description.input[0].type.WhichOneof("Type") == "imageType"

    def weights(self) -> list[Tensor]:
        """Weight and bias of every convolution and linear layer, float32, in the order of the program."""
        return [
            tensor
            for step in self._instructions
            for key in ("weight", "bias")
            if isinstance(tensor := step.constants.get(key), Tensor)
        ]

    def logits(self, images: Tensor) -> Tensor:
        check_size(images, self.info)
        batches = self.as_input(images).split(self.batch_size)
        return torch.cat([self._run(self.whole_batch(batch))[: len(batch)] for batch in batches])

    def as_input(self, images: Tensor) -> Tensor:
        """Images as `Runtime.logits` takes them, as the program does: whole numbers 0 to 255, or normalised."""
        return (to_pixels if self.takes_image else normalize)(images.cpu(), self.info)

    def whole_batch(self, images: Tensor) -> Tensor:
        """As many images as the program takes at once; the last one fills the places that are left."""
        missing = self.batch_size - len(images)
        return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)])

    @torch.inference_mode()
    def _run(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), pixels 0 to 255 or normalised, to logits (B, classes)."""
        return execute(self._instructions, {self._input: images})[self._logits].reshape(len(images), -1)

    @torch.inference_mode()
    def trace(self, images: Tensor) -> list[tuple[str, Tensor]]:
        """Type and output of every operation with one output, in the order of the program, for at most one batch."""
        values = execute(self._instructions, {self._input: self.whole_batch(self.as_input(images))})
        single = [
            (step.operation, values[step.outputs[0][0]]) for step in self._instructions if len(step.outputs) == 1
        ]
        return [(operation, value[: len(images)]) for operation, value in single]


def prepare(operations: Iterable[Any]) -> list[Instruction]:
    """Operations of a program, as coremltools reads them, ready to run; compressed constants are expanded.

    Raises:
        FastViTError: an operation, or a way of using it, that is not known here; names it.
    """
    expanded = _Expanded()
    return [_prepare(operation, expanded) for operation in operations if not _compresses(operation)]


def execute(instructions: Sequence[Instruction], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every value of the program by name. Each is rounded to the type that the program declares for it."""
    values = dict(inputs)
    for step in instructions:
        given = {key: values[name] for key, name in step.inputs.items()}
        result = step.function(**step.constants, **given)
        results = result if isinstance(result, tuple) else (result,)
        for (name, is_half), value in zip(step.outputs, results, strict=True):
            values[name] = value.half().float() if is_half else value
    return values


class _Expanded(dict[str, object]):
    """Constants by name that are stored compressed, expanded when the first operation asks for them."""

    def of(self, var: Any) -> object | None:
        """The constant that a compressing operation stands for; None for what an image's way leads through."""
        if not _compresses(var.op):
            return None
        if var.name not in self:
            self[var.name] = constant(var.op.materialized_val_inference())
        return self[var.name]


def _compresses(operation: Any) -> bool:
    return operation is not None and operation.op_type.startswith("constexpr_")


def _read(path: Path) -> tuple[Any, Any]:
    """The specification and the program of a package, as coremltools has them."""
    require_modules(("coremltools",), "Opening a Core ML package")
    import coremltools

    try:
        return read_mil_program(coremltools.models.MLModel(str(path), skip_model_load=True))
    except Exception as error:  # coremltools raises whatever its parsers meet
        raise unreadable(path, "Core ML", error) from error


def _info_of_classifier(path: Path, description: Any, labels: tuple[str, ...] | None) -> ModelInfo:
    """What a package of another program says of itself.

    Raises:
        FastViTError: it is no classifier of one square RGB image.
    """
    ports = list(description.input)
    image = ports[0].type.imageType if len(ports) == 1 else None
    if labels is None or image is None or image.colorSpace != image.RGB or image.width != image.height:
        raise FastViTError(
            f"'{path}' does not say which model it is, and is no Core ML classifier of one square RGB image.",
            "Write it with `fastvit export`, which puts classes and preprocessing inside.",
        )
    # The program normalises by itself: to it, pixels of 0 to 255 are as they should be.
    preprocessing = Preprocessing(img_size=image.width, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return ModelInfo(OTHER_VARIANT, "all", len(labels), preprocessing, class_names=labels)


def _logits_before(probabilities: Any, classes: int) -> str:
    """Name of what the classifier's softmax over the classes is taken of."""
    operation = probabilities.op
    while operation is not None and operation.op_type in _KEEPS_THE_ORDER:
        operation = operation.x.op
    if operation is None or operation.op_type != "softmax" or operation.x.shape[int(operation.axis.val)] != classes:
        raise FastViTError(
            "The Core ML classifier does not end in a softmax over its classes.", "Export the model again."
        )
    return str(operation.x.name)


def _prepare(operation: Any, expanded: _Expanded) -> Instruction:
    from coremltools.converters.mil.mil import types

    function = OPERATIONS.get(operation.op_type)
    given = {key: var for key, var in operation.inputs.items() if var is not None and key != "name"}
    constants = {key: constant(var.val) for key, var in given.items() if var.val is not None}
    constants |= {key: value for key, var in given.items() if (value := expanded.of(var)) is not None}
    inputs = {key: str(var.name) for key, var in given.items() if key not in constants}
    try:
        if function is None:
            raise TypeError
        inspect.signature(function).bind(**constants, **inputs)
    except TypeError as error:
        raise FastViTError(
            f"The Core ML program has an operation this program cannot compute: {operation.op_type} "
            f"({', '.join(given)}).",
            "Export the model with `fastvit export --format coreml`.",
        ) from error
    outputs = tuple((str(var.name), var.dtype is types.fp16) for var in operation.outputs)
    return Instruction(str(operation.op_type), function, constants, inputs, outputs)
