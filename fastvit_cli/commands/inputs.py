"""Which model and which data set are meant, said aloud; shared by the commands."""

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from fastvit_cli.options import ModelConfig, TrainedData
from fastvit_cli.ui.session import Bar, Session

if TYPE_CHECKING:
    from fastvit_cli.checkpoints.load import LoadedModel
    from fastvit_cli.checkpoints.metadata import ModelInfo
    from fastvit_cli.checkpoints.select import ModelSource
    from fastvit_cli.data.loader import RealImages
    from fastvit_cli.data.sources import DataChoice

SOME_IMAGES = 16


def announced_source(config: ModelConfig, session: Session, *, random_allowed: bool) -> "ModelSource":
    """`select_source`, and a line that says what was chosen; random weights are said loudly.

    Raises:
        FastViTError: nothing that can be meant.
    """
    from fastvit_cli.checkpoints.select import select_source

    source = select_source(config, random_allowed=random_allowed)
    if source.random_variant is not None:
        session.note(f"{source.name} with RANDOM WEIGHTS: its answers mean nothing.", style="bold yellow")
    else:
        session.note(f"Model: {source.name} ({source.reason}).")
    return source


def announced_model(config: ModelConfig, session: Session, *, random_allowed: bool) -> "LoadedModel":
    """The network of `announced_source`, on the CPU, where files are made and proved whatever the device.

    Raises:
        FastViTError: no such device, nothing that can be meant, or whatever is wrong with the file.
    """
    from fastvit_cli.devices import resolve_device

    resolve_device(config.device)
    return announced_weights(announced_source(config, session, random_allowed=random_allowed), session, "Loading")


def announced_weights(source: "ModelSource", session: Session, label: str) -> "LoadedModel":
    """`load_source`, with a bar of that label, and what is to be said of the file.

    Raises:
        FastViTError: whatever is wrong with the file.
    """
    from fastvit_cli.checkpoints.select import load_source

    with session.bar(label):
        loaded = load_source(source)
    for note in loaded.notes:
        session.note(note)
    return loaded


def announced_data(data: str | None, trained: TrainedData | None, session: Session) -> "DataChoice":
    """`choose_data`, with a bar while the demo is drawn for the first time, and a line that says what was chosen.

    Raises:
        FastViTError: the folder is not there.
    """
    choice = _chosen_data(data, trained, session)
    session.note(f"Data: {choice.name} ({choice.reason}).")
    return choice


def _chosen_data(data: str | None, trained: TrainedData | None, session: Session) -> "DataChoice":
    from fastvit_cli.data.sources import choose_data

    with ExitStack() as stack:
        bar: Bar | None = None

        def on_progress(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(session.bar("Drawing the demo images, once"))
            bar.update(done, total)

        return choose_data(data, trained, on_progress)


def real_images(
    choice: "DataChoice", info: "ModelInfo", split: str = "val", count: int = SOME_IMAGES
) -> "RealImages":
    """At most `count` images for a check, with labels where the data set has the model's classes.

    Raises:
        FastViTError: the data set has no such split, or an image cannot be read.
    """
    from fastvit_cli.data.loader import load_some_images
    from fastvit_cli.data.model_classes import match_classes, with_model_classes
    from fastvit_cli.data.sources import open_images
    from fastvit_cli.errors import FastViTError

    images = open_images(choice, split)
    try:
        info.check_classifier()
        match = match_classes(images, info.num_classes, info.class_names)
        images, labelled = with_model_classes(images, match), True
    except FastViTError:
        labelled = False
    some = load_some_images(images, info.preprocessing, count)
    return some if labelled else replace(some, labels=None)


def real_images_of(
    data: str | None, info: "ModelInfo", session: Session, wanted: dict[str, int], *, any_will_do: bool = True
) -> "dict[str, RealImages]":
    """At most so many images of each split, by its name.

    Of `--data`, else of what the model was trained on while that is still there, else of `FASTVIT_DATA` or the demo.

    Args:
        any_will_do: the demo may take the place of images that the model was trained for.

    Raises:
        FastViTError: `--data` is no data set, or lacks a split; or there are no images but the demo's, and they will
            not do.
    """
    from fastvit_cli.checkpoints.select import trained_on
    from fastvit_cli.data.class_folders import FOLDER_HINT
    from fastvit_cli.data.sources import DEMO, is_named
    from fastvit_cli.errors import FastViTError

    def load(choice: "DataChoice") -> "dict[str, RealImages]":
        with session.bar("Reading images"):
            return {split: real_images(choice, info, split, count) for split, count in wanted.items()}

    if not any_will_do and not is_named(data, info.data):
        raise FastViTError(
            "Fewer bits need images like those the model was trained on, and its file does not say which they are.",
            FOLDER_HINT,
        )
    try:
        return load(announced_data(data, trained_on(None, info), session))
    except FastViTError as error:
        if data is not None or info.data is None or not any_will_do:
            raise
        # The check does not depend on which images they are.
        session.note(f"{error.message} The demo images take their place.")
        return load(_chosen_data(DEMO, None, session))
