"""`--batch-size auto`: which sizes are tried, what is kept, and what a run makes of it."""

from pathlib import Path

import pytest
import torch
import yaml
from helpers.program import run

from fastvit_cli.data.sources import choose_data
from fastvit_cli.distributed import World
from fastvit_cli.errors import FastViTError
from fastvit_cli.options import AUTO_NUMBER
from fastvit_cli.training.batch_size import candidate_sizes, find_batch_size, largest_that_fits
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.training.train_step import TrainStep

SHORT = ("--img-size", 32, "--workers", 0, "--epochs", 1)


def _config(**changes: object) -> TrainConfig:
    return TrainConfig(**{"batch_size": AUTO_NUMBER, "mixup": 0.0, "cutmix": 0.0, **changes})


@pytest.mark.parametrize(
    ("limit", "found", "tries"),
    [
        (1000, 64, [2, 4, 8, 16, 32, 64]),
        (40, 32, [2, 4, 8, 16, 32, 64, 48]),
        (50, 48, [2, 4, 8, 16, 32, 64, 48]),
        (12, 12, [2, 4, 8, 16, 12]),
        (1, None, [2]),
    ],
)
def test_doubling_then_backing_off(limit: int, found: int | None, tries: list[int]) -> None:
    sizes, tried = candidate_sizes(_config(), 10_000, on_gpu=False), []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= limit

    assert (largest_that_fits(sizes, fits), tried) == (found, tries)


def test_the_last_size_is_tried_although_it_is_no_double() -> None:
    assert largest_that_fits([2, 4, 8, 12], lambda _: True) == 12
    assert largest_that_fits([2, 4, 8, 12], lambda size: size < 12) == 8


def test_candidates_part_the_total() -> None:
    assert candidate_sizes(_config(total_batch_size=1024), 10_000, on_gpu=True)[-2:] == [512, 1024]
    assert candidate_sizes(_config(total_batch_size=60), 10_000, on_gpu=True)[:4] == [2, 3, 4, 5]
    assert candidate_sizes(_config(total_batch_size=60, world_size=4), 10_000, on_gpu=True) == [3, 5, 15]
    mixed = candidate_sizes(_config(total_batch_size=60, mixup=0.2), 10_000, on_gpu=True)
    assert mixed == [2, 4, 6, 10, 12, 20, 30, 60]
    with pytest.raises(FastViTError, match="two of them mixed"):
        candidate_sizes(_config(total_batch_size=15, mixup=0.2), 10_000, on_gpu=True)
    with pytest.raises(FastViTError, match="--total-batch-size 30 in 2 processes cannot"):
        candidate_sizes(_config(total_batch_size=30, world_size=2, mixup=0.2), 10_000, on_gpu=True)


def test_small_data_keeps_ten_updates_an_epoch() -> None:
    assert candidate_sizes(_config(), 500, on_gpu=True)[-1] == 48
    assert candidate_sizes(_config(), 3, on_gpu=True) == [2]
    assert candidate_sizes(_config(world_size=4), 500, on_gpu=True)[-1] == 12


def test_a_run_keeps_the_number_found(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 images at once are said to be too many: it is 8 then, and the same run as when 8 is typed."""
    plain = TrainStep._backward

    def limited(self: TrainStep, batch: object, *rest: object) -> torch.Tensor:
        if len(batch.labels) > 8:  # type: ignore[attr-defined]
            raise MemoryError
        return plain(self, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainStep, "_backward", limited)
    found, typed = tmp_path / "found", tmp_path / "typed"
    words = ("train", "--data", tiny_data, *SHORT, "--total-batch-size", 24)
    outcome = run(capsys, *words, "--batch-size", "auto", "--output", found)
    assert outcome.code == 0, outcome.err
    assert "Batch size    12 does not fit" in outcome.err
    assert "--batch-size auto: 8 images at once, 3 times an update (the largest that fits)." in outcome.err
    assert yaml.safe_load((found / "config.yaml").read_text())["batch_size"] == 8
    assert run(capsys, *words, "--batch-size", 8, "--output", typed).code == 0
    weights = [torch.load(path / "state.pt", weights_only=True)["network"] for path in (found, typed)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    again = run(capsys, "train", "--resume", found, "--batch-size", "auto")
    assert again.code == 0
    assert "does not fit" not in again.err


def test_a_file_may_say_auto_and_nothing_may_be_written(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("batch-size: auto\n")
    words = ["train", "--dry-run", "--data", tiny_data, "--config", tmp_path / "c.yaml", *SHORT]
    assert run(capsys, *words, "--json").result["options"]["batch_size"] == 2
    for wrong in ("0", "many"):
        outcome = run(capsys, "train", "--batch-size", wrong)
        assert outcome.code == 2
        assert "--batch-size" in outcome.err


def test_each_of_several_processes_tries_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the search may wait for a process that is at another size."""
    built: list[tuple[TrainConfig, World]] = []

    def build(config: TrainConfig, _data: object, _loaded: object, _on_event: object, world: World) -> None:
        built.append((config, world))
        raise FastViTError("far enough", "")

    monkeypatch.setattr("fastvit_cli.training.batch_size.build_trainer", build)
    with pytest.raises(FastViTError, match="far enough"):
        find_batch_size(
            _config(sync_bn=True, world_size=2), choose_data("demo"), None, lambda _: None, World(1, 2, 1, 2)
        )
    ((config, world),) = built
    assert (config.sync_bn, config.world_size, world.size, world.local_rank) == (False, 1, 1, 1)


def test_memory_that_is_not_there_is_not_tried(
    tiny_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastvit_cli.training.batch_size.free_memory_mb", lambda _: 1.0)
    outcome = run(capsys, "train", "--data", tiny_data, *SHORT, "--batch-size", "auto")
    assert outcome.code == 1
    assert "Not even 2 images" in outcome.err
