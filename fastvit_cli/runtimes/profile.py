"""What `--profile` finds: where the time of one subject goes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerTime:
    """One module of the network.

    Attributes:
        name: dotted path, as in the state dict; empty for the whole network.
        kind: its class, or for a layer of a graph the kinds of its operations.
        ms: of one step, with everything inside.
    """

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class OperationTime:
    """All operations of one kind in one step.

    Attributes:
        unit: where Core ML runs them; None for the others.
        ms: None where only the share is known (Core ML's estimate).
        share: of the whole, 0 to 1.
    """

    kind: str
    calls: int
    ms: float | None
    share: float
    unit: str | None = None


@dataclass(frozen=True)
class Profile:
    """Where the time of one subject goes.

    Attributes:
        label: of its row.
        method: how it was found, one line.
        step_ms: one step while being profiled, which takes longer; None where nothing was run.
        layers: parents before children, in the order of the network.
        operations: the most expensive first.
    """

    label: str
    method: str
    step_ms: float | None
    layers: tuple[LayerTime, ...]
    operations: tuple[OperationTime, ...]
