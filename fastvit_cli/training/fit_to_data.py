"""What a recipe leaves to the number of images: how many at once, and how many epochs."""

from collections.abc import Collection
from dataclasses import replace

from fastvit_cli.options import AUTO_NUMBER
from fastvit_cli.training.train_options import TrainConfig

_FEWEST_EPOCHS = 10
_BATCHES = 4  # an epoch, at least: or a small set would be seen in one update
_SMALLEST_BATCH = 2
_WITHOUT_SEARCH = 32


def fit_to_data(config: TrainConfig, given: Collection[str], images: int) -> tuple[TrainConfig, tuple[str, ...]]:
    """A number of updates turned into epochs, and a recipe's batch size that a small set of images can fill.

    Args:
        given: options that the user sets, which stay.
        images: to train on.

    Returns:
        The configuration without `updates`, and what to say of it, a sentence each.
    """
    updates = config.updates
    if updates is None:
        return config, ()
    notes: list[str] = []
    if config.batch_size == AUTO_NUMBER:  # epochs follow from it, before anything is built to try sizes with
        config = replace(config, batch_size=_WITHOUT_SEARCH)
        notes.append(f"With a number of updates the batch size is not searched for: it is {_WITHOUT_SEARCH}.")
    if config.total_batch_size is None and "batch_size" not in given:
        size = config.batch_size
        while size > _SMALLEST_BATCH and size * _BATCHES * config.world_size > images:
            size //= 2
        if size < config.batch_size:
            notes.append(f"An update takes {size} images, not {config.batch_size}: there are {images:,}.")
            config = replace(config, batch_size=size)
    epochs = config.epochs
    if "epochs" not in given or "updates" in given:
        steps = max(1, images // config.effective_batch_size)
        epochs = max(min(_FEWEST_EPOCHS, epochs), min(epochs, -(-updates // steps)))
    cooldown = min(config.cooldown_epochs, epochs - 1)
    return replace(config, epochs=epochs, cooldown_epochs=cooldown, updates=None), tuple(notes)
