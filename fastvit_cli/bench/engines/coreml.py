"""Core ML itself, on a Mac, on a choice of its compute units."""

import tempfile
from pathlib import Path
from typing import Any

from fastvit_cli.bench.engines.base import Job, Prepared, Stopwatch
from fastvit_cli.bench.events import INFERENCE
from fastvit_cli.bench.profile import OperationTime, Profile
from fastvit_cli.errors import FastViTError, first_line

# coremltools passes on whatever the system says.
_FAILURES = (Exception,)
_PLAN = "compute plan of Core ML: where each operation runs, and its estimated share of the cost"


def core_ml(job: Job) -> Prepared:
    """A package, compiled, loaded, and predicting from an image, or the tensor it takes, as an application would.

    Raises:
        FastViTError: another batch size than the package's, or a package that Core ML refuses.
    """
    import coremltools

    package = job.path or job.converted
    assert package is not None
    assert job.compute_units is not None
    units = coremltools.ComputeUnit[job.compute_units.upper()]
    compiling, loading = Stopwatch(), Stopwatch()
    # Removed with the last reference, which is the one in `profile` below.
    folder = tempfile.TemporaryDirectory(prefix="fastvit-bench-")
    compiled = Path(folder.name) / "model.mlmodelc"
    try:
        (given,) = coremltools.utils.load_spec(str(package)).description.input
    except Exception as error:  # see _FAILURES
        raise _refused(error) from error
    feed = _feed(given, job)
    try:
        with compiling.running():
            coremltools.models.utils.compile_model(str(package), str(compiled))
        with loading.running():
            model = coremltools.models.CompiledMLModel(str(compiled), compute_units=units)
    except Exception as error:  # see _FAILURES
        raise _refused(error) from error
    return Prepared(
        {INFERENCE: lambda: model.predict(feed)},
        f"coreml {job.compute_units}",
        sum(path.stat().st_size for path in package.rglob("*") if path.is_file()),
        loading.nanoseconds,
        failures=_FAILURES,
        compile_ns=compiling.nanoseconds,
        profile=lambda: (_plan(Path(folder.name) / compiled.name, units, job.label), None),
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


def _plan(compiled: Path, units: Any, label: str) -> Profile:
    """Which unit runs which operation, by kind."""
    from coremltools.models.compute_plan import MLComputePlan

    plan = MLComputePlan.load_from_path(path=str(compiled), compute_units=units)
    totals: dict[tuple[str, str], tuple[int, float]] = {}
    for function in plan.model_structure.program.functions.values():
        for operation in function.block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            if usage is None:  # a constant
                continue
            kind = operation.operator_name.rpartition(".")[2]
            key = (kind, _unit_name(usage.preferred_compute_device))
            calls, weight = totals.get(key, (0, 0.0))
            totals[key] = (calls + 1, weight + (0.0 if cost is None else cost.weight))
    whole = sum(weight for _, weight in totals.values()) or 1.0
    ranked = sorted(totals.items(), key=lambda item: -item[1][1])
    operations = tuple(
        OperationTime(kind, calls, None, weight / whole, unit) for (kind, unit), (calls, weight) in ranked
    )
    return Profile(label, _PLAN, None, (), operations)


def _unit_name(device: Any) -> str:
    """`MLNeuralEngineComputeDevice` as a person calls it."""
    name = type(device).__name__.removeprefix("ML").removesuffix("ComputeDevice")
    return {"NeuralEngine": "Neural Engine"}.get(name, name)
