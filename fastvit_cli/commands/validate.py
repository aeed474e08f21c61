"""`fastvit validate`."""

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastvit_cli.commands.check import check_images
from fastvit_cli.commands.inputs import announced_data, announced_source
from fastvit_cli.commands.signature import command_line
from fastvit_cli.distributed import World, find_world, is_launched, joined, launch
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED, FastViTError
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.options import flag_of
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from fastvit_cli.checkpoints.select import ModelSource
    from fastvit_cli.evaluation.bulk import Models
    from fastvit_cli.evaluation.validate import Listeners
    from fastvit_cli.ui.session import Bar


def validate(config: ValidateConfig, session: Session) -> int:
    """Score a model on a folder of images: accuracy, calibration, and where it goes wrong.

    The file says how it wants its images. It may be a checkpoint of any layout, fused or not, or an export. A folder
    or a quoted glob of models becomes a table. --compare runs a second model on the same images.

    Example: [cyan]fastvit validate --ckpt best.safetensors --data photos --report report[/]
    """
    processes = config.nproc_per_node or find_world().size
    if processes > 1:
        _refuse_what_one_process_does(config)
    if processes > 1 and not is_launched():
        typed = {item.name: getattr(config, item.name) for item in fields(config)}
        typed = {item.name: typed[item.name] for item in fields(config) if typed[item.name] != item.default}
        del typed["nproc_per_node"]
        return launch(command_line("validate", typed, session), processes, config.device)
    world = find_world()
    with joined(world, config.device):
        return _validate(config, session if world.is_main else session.silent(), world)


def _refuse_what_one_process_does(config: ValidateConfig) -> None:
    """Refuse options that ask several processes for more than scores."""
    from fastvit_cli.evaluation.bulk import models_of

    asked = [flag_of(name) for name in ("compare", "report", "output", "check_data") if getattr(config, name)]
    if asked or models_of(config.ckpt, config.trust) is not None:
        what = asked[0] if asked else "A table of several models"
        raise FastViTError(f"{what} is the work of one process.", "Leave --nproc-per-node out.")


def _validate(config: ValidateConfig, session: Session, world: World) -> int:
    """One process's part of it."""
    from fastvit_cli.checkpoints.select import trained_on
    from fastvit_cli.devices import use_device
    from fastvit_cli.evaluation.bulk import models_of
    from fastvit_cli.evaluation.validate import score
    from fastvit_cli.runtimes.open import open_source
    from fastvit_cli.ui.report import prepare_folder, write_report
    from fastvit_cli.ui.validation_views import validation_view

    if config.check_data and config.data is not None:  # needs no model
        return check_images(announced_data(config.data, None, session), (config.split,), config, session)
    device = use_device(config.device, world.local_rank)
    session.device = str(device)
    models = models_of(config.ckpt, config.trust)
    if models is not None:
        return _validate_all(config, models, session)
    if config.output is not None:
        raise FastViTError("--output is for the table of several models.", "Pass --report for the report of one.")
    folder = None if config.report is None else prepare_folder(Path(config.report))
    with world.main_first():  # of several processes one downloads
        source = announced_source(config, session, random_allowed=False)
        opened = open_source(source, device, session.note, config.trust)
    other = None
    if config.compare is not None:
        other = open_source(_compared(config.compare, config), device, session.note, config.trust)
    with world.main_first():
        data = announced_data(config.data, trained_on(source.path, opened.info), session)
    if config.check_data:
        return check_images(data, (config.split,), config, session)
    with session.bar("Validating") as bar:
        published = source.hub.published_top1 if source.hub else None
        found = score(config, opened, data, source.name, published, other, _listeners(session, bar), world)
    write = None
    if folder is not None and found.report is not None:
        write = partial(write_report, folder, found.result, found.report)
    session.finish(found.result, validation_view(found.result), write)
    if folder is not None and write is not None:
        session.note(f"Report: {folder / 'index.html'}")
    return EXIT_DONE


def _compared(ckpt: str, config: ValidateConfig) -> "ModelSource":
    from fastvit_cli.checkpoints.select import select_source
    from fastvit_cli.options import ModelConfig

    return select_source(ModelConfig(ckpt=ckpt, ema=config.ema), random_allowed=False)


def _validate_all(config: ValidateConfig, models: "Models", session: Session) -> int:
    from fastvit_cli.devices import resolve_device
    from fastvit_cli.evaluation.bulk import validate_all
    from fastvit_cli.ui.validation_views import bulk_view, prepare_table, write_table

    for name, given in (("--report", config.report), ("--compare", config.compare)):
        if given is not None:
            raise FastViTError(
                f"{name} is about one model, and --ckpt names {len(models.to_score)}.", "Pass one of them."
            )
    output = None if config.output is None else prepare_table(Path(config.output), config.force)
    with session.bar("Validating") as bar:
        result = validate_all(
            config,
            models,
            resolve_device(config.device),
            lambda name, place, total: bar.describe(f"{Path(name).name} ({place} of {total})"),
            _listeners(session, bar),
        )
    write = None if output is None else partial(write_table, output, result)
    session.finish(result, bulk_view(result), write)
    return EXIT_FAILED if all(row.error for row in result.rows) else EXIT_DONE


def _listeners(session: Session, bar: "Bar") -> "Listeners":
    from fastvit_cli.evaluation.validate import Listeners

    return Listeners(
        progress=bar.update,
        unreadable=session.unreadable,
        engine=lambda words: session.note(f"Engine: {words}."),
        note=session.note,
        smaller_batch=lambda images: session.note(
            f"The device is out of memory: going on with {images} images at once.", style="yellow"
        ),
    )
