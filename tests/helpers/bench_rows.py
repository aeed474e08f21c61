"""Rows and a machine of a benchmark that nobody ran."""

from typing import Any

from fastvit_cli.bench.events import BenchRow
from fastvit_cli.bench.machine import Machine

MACHINE = Machine(
    cpu="a CPU",
    logical_cores=4,
    usable_cores=4,
    frequency="performance",
    ram_gib=8.0,
    os="an OS",
    python="3.11",
    torch="2.15",
    torch_threads=4,
    devices=("cpu",),
    libraries={},
    fastvit="1",
    git_revision=None,
    date="2026-01-01T00:00:00+00:00",
)


def row(name: str = "mine", **figures: Any) -> BenchRow:
    return BenchRow(
        **{
            "name": name,
            "engine": "torch",
            "device": "cpu",
            "batch_size": 1,
            "img_size": 64,
            "fuse": "all",
            "dtype": "float32",
            **figures,
        }
    )
