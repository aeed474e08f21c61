"""A recipe for sets of any size: updates become epochs, and a small set fills its batches."""

import pytest

from fastvit_cli.options import AUTO_NUMBER
from fastvit_cli.training.fit_to_data import fit_to_data
from fastvit_cli.training.train_options import TrainConfig


def _config(**options: object) -> TrainConfig:
    values = {"batch_size": 32, "epochs": 100, "updates": 800, "mixup": 0.0, "cutmix": 0.0, **options}
    return TrainConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    [
        (10, 2, 100),  # 800 updates would take 160 epochs
        (50, 8, 100),
        (640, 32, 40),
        (650, 32, 40),
        (50_000, 32, 10),
    ],
)
def test_a_set_of_any_size_gets_about_as_many_updates(images: int, batch_size: int, epochs: int) -> None:
    config, notes = fit_to_data(_config(), (), images)
    assert (config.batch_size, config.epochs, config.updates) == (batch_size, epochs, None)
    assert bool(notes) == (batch_size < 32)


def test_what_was_given_stays() -> None:
    assert fit_to_data(_config(epochs=3), ("epochs",), 640)[0].epochs == 3
    assert fit_to_data(_config(batch_size=16), ("batch_size",), 20)[0].batch_size == 16
    assert fit_to_data(_config(epochs=30), ("epochs", "updates"), 640)[0].epochs == 30
    assert fit_to_data(_config(updates=400, epochs=30), ("epochs", "updates"), 640)[0].epochs == 20
    without = _config(updates=None, epochs=7)
    assert fit_to_data(without, (), 10) == (without, ())


def test_with_a_number_of_updates_the_batch_size_is_not_searched_for_and_that_is_said() -> None:
    config, (note,) = fit_to_data(_config(batch_size=AUTO_NUMBER), ("batch_size",), 640)
    assert (config.batch_size, config.epochs) == (32, 40)
    assert "it is 32" in note


def test_the_cooldown_leaves_an_epoch_to_learn_in() -> None:
    config, _ = fit_to_data(_config(cooldown_epochs=20), (), 50_000)
    assert (config.epochs, config.cooldown_epochs) == (10, 9)
