"""Where the time goes in ONNX Runtime: the profile that it writes itself."""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastvit_cli.runtimes.profile import LayerTime, OperationTime, Profile

_STEPS = 5
_OTHER = "(no layer)"
_BLOCKED = "_nchwc"


def profile_onnx(open_profiled: Callable[[str], tuple[Any, Any]], graph: Path, label: str) -> tuple[Profile, str]:
    """Run a few steps in a session of its own that profiles itself.

    A layer is the module whose weights an operation reads; one without weights counts to that of its input.

    Args:
        open_profiled: takes the beginning of a file name, gives a session that writes its profile there, and what to
            feed it.
        graph: the ONNX file.
    """
    with tempfile.TemporaryDirectory() as folder:
        session, feed = open_profiled(str(Path(folder) / "profile"))
        for _ in range(_STEPS + 1):
            session.run(None, feed)
        trace = Path(session.end_profiling()).read_text(encoding="utf-8")
    events = json.loads(trace)
    runs = [event["dur"] for event in events if event["name"] == "model_run"]
    nodes = [event for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    nodes = nodes[len(nodes) // (_STEPS + 1) :]  # without the first step, which allocates
    layer_of = _layers_of_nodes(graph)
    of_layer: defaultdict[str, float] = defaultdict(float)
    kinds: defaultdict[str, dict[str, None]] = defaultdict(dict)
    of_operation: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    last = _OTHER
    for event in nodes:
        kind = event["args"]["op_name"]
        last = layer_of.get(event["name"].removesuffix("_kernel_time"), last)
        for name in _with_parents(last):
            of_layer[name] += event["dur"]
        kinds[last][kind] = None
        of_operation[kind] += event["dur"]
        calls[kind] += 1
    total = sum(of_operation.values()) or 1.0
    to_ms = 1e-3 / _STEPS
    found = Profile(
        label=label,
        method=f"ONNX Runtime's own profile, {_STEPS} steps, time in its kernels",
        step_ms=sum(runs[1:]) * to_ms,
        layers=tuple(
            LayerTime(name, " + ".join(kinds[name]) if name in kinds else "", time * to_ms)
            for name, time in of_layer.items()
        ),
        operations=tuple(
            OperationTime(kind, calls[kind] // _STEPS, time * to_ms, time / total)
            for kind, time in sorted(of_operation.items(), key=lambda item: -item[1])
        ),
    )
    return found, trace


def _with_parents(name: str) -> list[str]:
    """`stages.0.blocks` and all above it: "", "stages", "stages.0", "stages.0.blocks"."""
    parts = name.split(".")
    return ["", *(".".join(parts[: end + 1]) for end in range(len(parts)))]


def _layers_of_nodes(graph: Path) -> dict[str, str]:
    """Name of a node, as the profile has it, to the dotted path of its module."""
    import onnx

    model = onnx.load(graph).graph
    weights = {tensor.name for tensor in model.initializer}
    layer_of_value: dict[str, str] = {}
    layers = {}
    for node in model.node:
        own = next((name.rpartition(".")[0] for name in node.input if name in weights and "." in name), None)
        layer = own or _first(layer_of_value.get(name) for name in node.input)
        if layer is None:
            continue
        layers[node.name] = layer
        layer_of_value.update(dict.fromkeys(node.output, layer))
    # A node that was rewritten for blocked channels is called after its output.
    return layers | {f"{value}{_BLOCKED}": layer for value, layer in layer_of_value.items()}


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)
