"""Core ML itself, on a Mac, on a choice of its compute units."""

import tempfile
from pathlib import Path
from typing import Any

from fastvit_cli.bench.engines.base import Job, Prepared, Stopwatch
from fastvit_cli.bench.events import INFERENCE
from fastvit_cli.bench.profile import OperationTime, Profile
from fastvit_cli.errors import FastViTError

INPUT = "image"
# coremltools passes on whatever the system says.
_FAILURES = (Exception,)
_PLAN = "compute plan of Core ML: where each operation runs, and its estimated share of the cost"


def core_ml(job: Job) -> Prepared:
    """A package, compiled, loaded, and predicting from an image as an application would.

    Raises:
        FastViTError: a batch of more than one, or a package that Core ML refuses.
    """
    import coremltools
    from PIL import Image

    if len(job.images) != 1:
        raise FastViTError("Core ML's image inputs take one image at a time")
    package = job.path or job.converted
    assert package is not None
    assert job.compute_units is not None
    units = coremltools.ComputeUnit[job.compute_units.upper()]
    size = job.info.preprocessing.img_size
    feed = {INPUT: Image.new("RGB", (size, size), (124, 116, 104))}  # the values do not change the work
    compiling, loading = Stopwatch(), Stopwatch()
    # Removed with the last reference, which is the one in `profile` below.
    folder = tempfile.TemporaryDirectory(prefix="fastvit-bench-")
    compiled = Path(folder.name) / "model.mlmodelc"
    try:
        with compiling.running():
            coremltools.models.utils.compile_model(str(package), str(compiled))
        with loading.running():
            model = coremltools.models.CompiledMLModel(str(compiled), compute_units=units)
    except Exception as error:  # see _FAILURES
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FastViTError(f"Core ML refuses the package ({first})") from error
    return Prepared(
        {INFERENCE: lambda: model.predict(feed)},
        f"coreml {job.compute_units}",
        sum(path.stat().st_size for path in package.rglob("*") if path.is_file()),
        loading.nanoseconds,
        failures=_FAILURES,
        compile_ns=compiling.nanoseconds,
        profile=lambda: (_plan(Path(folder.name) / compiled.name, units, job.label), None),
    )


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
