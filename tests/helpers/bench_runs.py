"""Short benchmarks of a tiny network."""

from collections.abc import Callable, Mapping
from typing import Any

from fastvit_cli.bench.bench_options import BenchConfig
from fastvit_cli.bench.events import (
    BenchRow,
)
from fastvit_cli.bench.run import run_bench
from fastvit_cli.bench.subjects import Subject
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing

FIGURES = ("median_ms", "p90_ms", "p99_ms", "mean_ms", "trimmed_mean_ms", "images_per_second", "samples", "flops")


def config(**options: Any) -> BenchConfig:
    return BenchConfig(**{"device": "cpu", "iterations": 2, "min_seconds": 0.0, "img_size": "64", **options})


def info_of(network: FastViT) -> ModelInfo:
    return ModelInfo("t8", network.form, network.num_classes, Preprocessing(img_size=96))


def subject(network: FastViT, name: str = "t8") -> Subject:
    return Subject(name=name, network=network, info=info_of(network), top1=76.2, top1_source="published")


def results(config: BenchConfig, *subjects: Subject) -> tuple[BenchRow, ...]:
    return run_bench(config, subjects).result.results


Simulate = Callable[[Mapping[int, list[int]]], None]


def assert_only_error(row: BenchRow, error: str) -> None:
    assert row.error is not None
    assert error in row.error
    assert "\n" not in row.error
    assert [getattr(row, name) for name in (*FIGURES, "peak_memory_mb", "ratio")] == [None] * 10
