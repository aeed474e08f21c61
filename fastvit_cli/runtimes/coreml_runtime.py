"""Core ML itself, which only Apple's systems have."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvit_cli.errors import FastViTError, WorkFailedError, first_line
from fastvit_cli.runtimes.bound import Bound, Job, Stopwatch
from fastvit_cli.runtimes.checksum import files_of
from fastvit_cli.runtimes.coreml_evaluator import CoreMLEvaluator
from fastvit_cli.runtimes.exported import check_size
from fastvit_cli.runtimes.profile import OperationTime, Profile

_PLAN = "compute plan of Core ML: where each operation runs, and its estimated share of the cost"


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

    try:
        compiled = coremltools.models.utils.compile_model(str(path))
        counts = Counter(unit for _, unit, _ in _planned(compiled))
    except Exception:  # systems before macOS 14.4 have no plans, and say so in many ways
        return {}
    return {unit: count / counts.total() for unit, count in counts.most_common()}


def _planned(compiled: str, **options: Any) -> Iterator[tuple[str, str, float]]:
    """Kind, unit and estimated share of the cost of each operation of a compiled package, as Core ML plans it."""
    from coremltools.models.compute_plan import MLComputePlan

    plan = MLComputePlan.load_from_path(compiled, **options)
    for function in plan.model_structure.program.functions.values():
        for operation in function.block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is None:  # a constant
                continue
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            name = type(usage.preferred_compute_device).__name__.removeprefix("ML").removesuffix("ComputeDevice")
            kind = operation.operator_name.rpartition(".")[2]
            yield kind, {"NeuralEngine": "Neural Engine"}.get(name, name), 0.0 if cost is None else cost.weight


def bind(job: Job) -> Bound:
    """A package, compiled, loaded, and predicting from an image, or the tensor it takes, as an application would.

    Raises:
        FastViTError: another batch size than the package's, or a package that Core ML refuses.
    """
    import coremltools

    assert job.compute_units is not None
    units = coremltools.ComputeUnit[job.compute_units.upper()]
    compiling, loading = Stopwatch(), Stopwatch()
    # Removed with the last reference, which is the one in `profile` below.
    folder = tempfile.TemporaryDirectory(prefix="fastvit-bench-")
    compiled = Path(folder.name) / "model.mlmodelc"
    try:
        (given,) = coremltools.utils.load_spec(str(job.file)).description.input
    except Exception as error:  # coremltools passes on whatever the system says
        raise _refused(error) from error
    feed = _feed(given, job)
    try:
        with compiling.running():
            coremltools.models.utils.compile_model(str(job.file), str(compiled))
        with loading.running():
            model = coremltools.models.CompiledMLModel(str(compiled), compute_units=units)
    except Exception as error:  # coremltools passes on whatever the system says
        raise _refused(error) from error
    return Bound(
        (lambda: model.predict(feed),),
        f"coreml {job.compute_units}",
        sum(file.stat().st_size for file in files_of(job.file)),
        loading.nanoseconds,
        failures=(Exception,),
        compile_ns=compiling.nanoseconds,
        profile=lambda: (_profile(Path(folder.name) / compiled.name, units, job.label), None),
    )


def _refused(error: Exception) -> FastViTError:
    return FastViTError(f"Core ML refuses the package ({first_line(error)})")


def _feed(given: Any, job: Job) -> dict[str, Any]:
    """What the package's one input takes; the values do not change the work."""
    if given.type.WhichOneof("Type") == "multiArrayType":
        batch_size = given.type.multiArrayType.shape[0]
        if batch_size != len(job.images):
            raise FastViTError(f"the package takes {batch_size} images at a time, no more and no fewer")
        return {given.name: job.images.numpy()}
    from PIL import Image

    if len(job.images) != 1:
        raise FastViTError("Core ML's image inputs take one image at a time")
    size = job.info.preprocessing.img_size
    return {given.name: Image.new("RGB", (size, size), (124, 116, 104))}


def _profile(compiled: Path, units: Any, label: str) -> Profile:
    """Which unit runs which operation, by kind."""
    totals: dict[tuple[str, str], tuple[int, float]] = {}
    for kind, unit, weight in _planned(str(compiled), compute_units=units):
        calls, before = totals.get((kind, unit), (0, 0.0))
        totals[kind, unit] = (calls + 1, before + weight)
    whole = sum(weight for _, weight in totals.values()) or 1.0
    ranked = sorted(totals.items(), key=lambda item: -item[1][1])
    operations = tuple(
        OperationTime(kind, calls, None, weight / whole, unit) for (kind, unit), (calls, weight) in ranked
    )
    return Profile(label, _PLAN, None, (), operations)
