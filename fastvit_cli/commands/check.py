"""`fastvit check`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastvit_cli.commands.inputs import announced_data
from fastvit_cli.data.data_options import CheckConfig, SourceConfig
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED, FastViTError
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from fastvit_cli.data.images import Images
    from fastvit_cli.data.sources import DataChoice


def check(config: CheckConfig, session: Session) -> int:
    """Look at a data set before training: what cannot be read, what is there twice, what is odd.

    Finds the same photo in train and val, or in two classes, also resized, recompressed or mirrored.

    Example: [cyan]fastvit check photos --report look[/]
    """
    from fastvit_cli.data.sources import splits_of
    from fastvit_cli.ui.check_page import FILES
    from fastvit_cli.ui.report import prepare_folder

    report = None if config.report is None else prepare_folder(Path(config.report), FILES)
    choice = announced_data(config.folder or config.data, None, session)
    return check_images(choice, splits_of(choice), config, session, report, strict=config.strict)


def check_images(
    choice: "DataChoice",
    splits: Sequence[str],
    config: SourceConfig,
    session: Session,
    report: Path | None = None,
    strict: bool = False,
) -> int:
    """Look at every image of these splits once, and show what was found.

    Args:
        report: an existing folder for a page.
        strict: let leaks and conflicts fail it.

    Raises:
        FastViTError: no such split, no classes, a class without images to train on; or, after the result, one for
            validation alone.
    """
    from fastvit_cli.data.check import NotedSplit, check_data
    from fastvit_cli.data.image_facts import note_facts
    from fastvit_cli.data.sources import SAME_CLASSES_HINT
    from fastvit_cli.data.workers import resolve_workers
    from fastvit_cli.ui.check_page import write_page
    from fastvit_cli.ui.check_view import check_view

    workers = resolve_workers(config.workers)
    opened, notes = _opened(choice, splits, config.class_map, session)
    noted = []
    for split, images in opened.items():
        with session.bar(f"Reading {split}") as bar:
            noted.append(NotedSplit(split, images, note_facts(images, workers, bar.update)))
    with session.bar("Comparing"):
        result = check_data(choice.name, noted, notes)
    write = None if report is None else partial(write_page, report, result, opened)
    session.finish(result, check_view(result), write)
    if report is not None:
        session.note(f"Report: {report / 'index.html'}")
    if result.training_error is not None:
        error = FastViTError(result.training_error, SAME_CLASSES_HINT)
        error.after_result = True
        raise error
    found = strict and (result.leaks or result.conflicts)
    return EXIT_FAILED if found or not result.passed else EXIT_DONE


def _opened(
    choice: "DataChoice", splits: Sequence[str], class_map: str | None, session: Session
) -> "tuple[dict[str, Images], list[str]]":
    """The images of each split, and what to say of splits that are not there.

    Raises:
        FastViTError: not one of them can be opened, or a folder's cannot.
    """
    from fastvit_cli.data.sources import open_images

    opened: dict[str, Images] = {}
    notes: list[str] = []
    for split in splits:
        with session.bar(f"Listing {split}") as bar:
            try:
                opened[split] = open_images(choice, split, class_map, bar.update)
            except FastViTError as error:
                # Which splits a data set of timm's has is known by opening them.
                if choice.root is not None or (split == splits[-1] and not opened):
                    raise
                notes.append(error.message)
    if list(opened) == ["train"]:
        notes.append("There is no validation split beside it, so nothing can be said of leaks.")
    return opened, notes
