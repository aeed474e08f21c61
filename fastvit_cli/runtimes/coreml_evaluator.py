"""Core ML programs without a Mac: the saved file, run operation by operation in PyTorch.

Core ML itself only predicts on Apple's systems. What this gives is the numbers of the program as saved, with
every intermediate rounded to the type the program declares; not the order of summation of any Apple chip, and
nothing about speed.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.runtimes.base import normalize
from fastvit_cli.runtimes.exported import check_size, read_info, require_file, unreadable
from fastvit_cli.runtimes.mil_operations import OPERATIONS, constant
from fastvit_cli.runtimes.quiet import quiet_libraries


@dataclass(frozen=True)
class _Instruction:
    """One operation, ready to run: constants converted, other inputs by name."""

    operation: str
    function: Callable[..., Tensor | tuple[Tensor, ...]]
    constants: dict[str, object]
    inputs: dict[str, str]
    outputs: tuple[tuple[str, bool], ...]  # name, and whether it is float16


class CoreMLEvaluator:
    """A Core ML package that `fastvit export` wrote. See `runtimes.base.Runtime`.

    Attributes:
        labels: class names of a classifier, in the order of the logits; None without.
        num_operations: besides constants.
        takes_image: pixels, which the program normalises; else normalised images.
        batch_size: images at once, fixed.
        description: the model description of the specification: inputs, outputs, metadata.

    Raises:
        FastViTError: no such package, not an ML program, without our metadata, or with an operation that
            our exports do not have.
    """

    engine = "coreml-emulated"
    device_name = "cpu"

    def __init__(self, path: Path) -> None:
        require_file(path)
        with quiet_libraries():
            spec, program = _read(path)
        self.device = torch.device("cpu")
        self.description: Any = spec.description
        self.info: ModelInfo = read_info(path, dict(spec.description.metadata.userDefined))
        (function,) = program.functions.values()
        operations = [operation for operation in function.operations if not operation.op_type.startswith("const")]
        self.num_operations = len(operations)
        classify = next((operation for operation in operations if operation.op_type == "classify"), None)
        self.labels: tuple[str, ...] | None = None
        if classify is None:
            (output,) = function.outputs
            self._logits = output.name
        else:
            self.labels = tuple(map(str, classify.classes.val))
            self._logits = _logits_before(classify.probabilities)
        self._instructions = [_prepare(operation) for operation in operations if operation is not classify]
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
        batches = self._as_input(images).split(self.batch_size)
        return torch.cat([self._run(self._whole_batch(batch))[: len(batch)] for batch in batches])

    def _as_input(self, images: Tensor) -> Tensor:
        return _to_pixels(images.cpu(), self.info) if self.takes_image else normalize(images.cpu(), self.info)

    def _whole_batch(self, images: Tensor) -> Tensor:
        """As many images as the program takes at once; the last one fills the places that are left."""
        missing = self.batch_size - len(images)
        return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)])

    @torch.inference_mode()
    def _run(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), pixels 0 to 255 or normalised, to logits (B, classes)."""
        return self._values(images)[self._logits]

    @torch.inference_mode()
    def trace(self, images: Tensor) -> list[tuple[str, Tensor]]:
        """Type and output of every operation with one output, in the order of the program, for at most one batch."""
        values = self._values(self._whole_batch(self._as_input(images)))
        single = [
            (step.operation, values[step.outputs[0][0]]) for step in self._instructions if len(step.outputs) == 1
        ]
        return [(operation, value[: len(images)]) for operation, value in single]

    def _values(self, images: Tensor) -> dict[str, Tensor]:
        """Every value of the program by name."""
        values: dict[str, Tensor] = {self._input: images}
        for step in self._instructions:
            inputs = {key: values[name] for key, name in step.inputs.items()}
            result = step.function(**step.constants, **inputs)
            results = result if isinstance(result, tuple) else (result,)
            for (name, is_half), value in zip(step.outputs, results, strict=True):
                values[name] = value.half().float() if is_half else value
        return values


def _read(path: Path) -> tuple[Any, Any]:
    """The specification and the program of a package, as coremltools has them."""
    try:
        import coremltools
        from coremltools.converters.mil.frontend.milproto.load import load as load_program
    except ImportError as error:
        raise FastViTError("Opening a Core ML package needs coremltools.", "Run: pip install coremltools") from error
    try:
        model = coremltools.models.MLModel(str(path), skip_model_load=True)
        spec = model.get_spec()
        return spec, load_program(spec, spec.specificationVersion, file_weights_dir=model.weights_dir)
    except Exception as error:  # coremltools raises whatever its parsers meet
        raise unreadable(path, "Core ML", error) from error


def _to_pixels(images: Tensor, info: ModelInfo) -> Tensor:
    """What Core ML is given: whole numbers 0 to 255. Normalised images are brought back to them."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32, memory_format=torch.contiguous_format)
    mean = torch.tensor(info.preprocessing.mean).reshape(3, 1, 1)
    std = torch.tensor(info.preprocessing.std).reshape(3, 1, 1)
    return ((images * std + mean) * 255.0).round().clamp(0.0, 255.0)


def _logits_before(probabilities: Any) -> str:
    """Name of what the classifier's softmax over the classes is taken of."""
    operation = probabilities.op
    while operation is not None and operation.op_type == "cast":
        operation = operation.x.op
    if operation is None or operation.op_type != "softmax" or int(operation.axis.val) not in (1, -1):
        raise FastViTError("The Core ML classifier does not end in a softmax.", "Export the model again.")
    return str(operation.x.name)


def _value(var: Any) -> Any:
    """A constant's value, a compressed one expanded as Core ML does when it loads it; None for what is computed."""
    if var.val is None and var.op is not None and var.op.op_type.startswith("constexpr_"):
        return var.op.materialized_val_inference()
    return var.val


def _prepare(operation: Any) -> _Instruction:
    from coremltools.converters.mil.mil import types

    function = OPERATIONS.get(operation.op_type)
    given = {key: var for key, var in operation.inputs.items() if var is not None and key != "name"}
    constants = {key: constant(value) for key, var in given.items() if (value := _value(var)) is not None}
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
    return _Instruction(str(operation.op_type), function, constants, inputs, outputs)
