"""A run against an earlier one: what became slower, and whether that is more than chance and more than allowed."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastvit_cli.bench.events import BenchResult, BenchRow, ComparedRow, Comparison
from fastvit_cli.bench.statistics import Ratio, unpaired_ratio
from fastvit_cli.errors import FastViTError

_SCHEMA = 1
_MACHINE_FIELDS = ("cpu", "logical_cores", "usable_cores", "devices", "os", "python", "torch", "torch_threads")
# What makes two rows the same one; `BenchRow.label` is made of these but for the device, of which a run has one.
_KEY = (
    "name",
    "engine",
    "fuse",
    "dtype",
    "batch_size",
    "img_size",
    "part",
    "channels_last",
    "compute_units",
    "device",
)


@dataclass(frozen=True)
class OldRun:
    """An earlier results.json: its rows' round medians in ms by their key; () where a row had an error."""

    path: str
    machine: dict[str, Any]
    rows: dict[tuple[Any, ...], tuple[float, ...]]


def read_run(path: Path) -> OldRun:
    """Read what `--output` or `--json` wrote.

    Raises:
        FastViTError: no such file, or none of ours.
    """
    hint = "Pass the results.json of an earlier `fastvit bench --output FOLDER`."
    if path.is_dir():
        path = path / "results.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FastViTError(f"Cannot read '{path}' ({error.strerror or error}).", hint) from error
    except ValueError as error:
        raise FastViTError(f"'{path}' is no JSON ({error}).", hint) from error
    try:
        if (document["schema"], document["command"]) != (_SCHEMA, "bench"):
            raise FastViTError(
                f"'{path}' is of the command {document['command']}, schema {document['schema']}, not of bench, "
                f"schema {_SCHEMA}.",
                hint,
            )
        result = document["result"]
        rows = {
            tuple(row[name] for name in _KEY): tuple(float(value) for value in row["round_medians_ms"])
            for row in result["results"]
        }
        return OldRun(str(path), dict(result["machine"]), rows)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, FastViTError):
            raise
        raise FastViTError(f"'{path}' holds no benchmark that can be compared ({error!r}).", hint) from error


def compare_runs(old: OldRun, new: BenchResult, tolerance: float) -> Comparison:
    """Each new row against the same one of the old run.

    Args:
        tolerance: percent that a row may become slower. Beyond it is a row whose ratio is above that, and whose
            interval leaves out 1.
    """
    rows = tuple(_compared(row, old.rows.get(_key(row)), tolerance) for row in new.results)
    known = {_key(row) for row in new.results}
    return Comparison(
        old=old.path,
        old_date=str(old.machine.get("date", "unknown")),
        tolerance=tolerance,
        differences=tuple(_differences(old.machine, vars(new.machine))),
        rows=rows,
        missing=tuple(BenchRow(**dict(zip(_KEY, key, strict=True))).label for key in old.rows if key not in known),
    )


def _key(row: BenchRow) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in _KEY)


def _compared(row: BenchRow, before: tuple[float, ...] | None, tolerance: float) -> ComparedRow:
    old_ms = statistics.median(before) if before else None
    if not before or not row.round_medians_ms:
        return ComparedRow(row.label, old_ms, row.median_ms, None, "new" if before is None else "unmeasured", False)
    ratio = unpaired_ratio(row.round_medians_ms, before)
    beyond = ratio.significant and ratio.value > 1 + tolerance / 100
    return ComparedRow(row.label, old_ms, statistics.median(row.round_medians_ms), ratio, _verdict(ratio), beyond)


def _verdict(ratio: Ratio) -> str:
    if ratio.low is None:
        return "too few rounds"
    if not ratio.significant:
        return "same"
    return "slower" if ratio.value > 1 else "faster"


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = [
        f"{name}: {_words(old.get(name))} then, {_words(new[name])} now"
        for name in _MACHINE_FIELDS
        if _words(old.get(name)) != _words(new[name])
    ]
    before, now = old.get("libraries") or {}, new["libraries"]
    found += [
        f"{name}: {before.get(name)} then, {now.get(name)} now"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    return found


def _words(value: Any) -> str:
    """A field of the machine; a list in JSON is a tuple here."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
