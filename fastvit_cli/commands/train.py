"""`fastvit train`."""

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastvit_cli.commands.inputs import announced_data, check_data
from fastvit_cli.commands.signature import command_line
from fastvit_cli.distributed import World, find_world, is_launched, joined, launch
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED, FastViTError
from fastvit_cli.models.variants import get_variant
from fastvit_cli.options import AUTO, ModelConfig, flag_of
from fastvit_cli.training.config import TrainConfig
from fastvit_cli.training.config_layers import option_sources, read_config_file, recipe_values, resolve_config
from fastvit_cli.training.recipe_files import RecipeChoice, choose_recipe
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from fastvit_cli.checkpoints.load import LoadedModel
    from fastvit_cli.data.sources import DataChoice
    from fastvit_cli.training.events import TrainEvent
    from fastvit_cli.training.run_folder import RunFolder

# Where and how long a run goes on, not what it computes.
_MAY_CHANGE_ON_RESUME = frozenset(
    (
        *("resume", "check_data", "dry_run", "workers", "device", "max_bad_images", "nproc_per_node", "trust"),
        *("epochs", "save_every", "time_limit", "patience", "wandb"),
    )
)
# Of a run with a state also where its data is: whether it is the same is seen when it is opened.
_MAY_MOVE = frozenset(("data", "class_map"))
_PATHS = frozenset(("ckpt", "class_map", "output", "teacher"))


def train(given: dict[str, Any], session: Session) -> int:
    """Train on class folders and keep the best weights.

    The network is scored after each epoch. Without [bold]--data[/] it learns the built-in demo images. Ctrl-C
    ends cleanly and keeps the weights.

    Example: [cyan]fastvit train --variant sa24 --data photos --epochs 50[/]
    """
    if "resume" in given:  # for all processes the same run, whatever else is written meanwhile
        given = {**given, "resume": str(_run_to_resume(given["resume"])[0])}
    processes = _processes(given)
    if processes > 1 and not is_launched() and not (given.get("check_data") or given.get("dry_run")):
        words = command_line("train", {name: given[name] for name in given if name != "nproc_per_node"}, session)
        return launch(words, processes, _device(given))
    world = find_world()
    with joined(world, _device(given)):
        return _train(given, session if world.is_main else session.silent(), world, processes)


def _train(given: dict[str, Any], session: Session, world: World, processes: int) -> int:
    """One process's part of the run."""
    from fastvit_cli.devices import resolve_device
    from fastvit_cli.training.dry_run import dry_run
    from fastvit_cli.training.metric_logs import metric_logs
    from fastvit_cli.training.stopping import Stop
    from fastvit_cli.training.train import train as run_training
    from fastvit_cli.ui.dry_run_view import dry_run_view
    from fastvit_cli.ui.training_view import TrainingView, training_result

    with world.main_first():
        plan = _resumed_plan(given, session, processes) if "resume" in given else _plan(given, session, processes)
    session.device = str(resolve_device(plan.config.device, world.local_rank))
    if plan.config.check_data:
        return check_data(plan.data, ("train", "val"), plan.config, session)
    if plan.config.dry_run:
        with TrainingView(session) as view:
            planned = dry_run(plan.config, plan.data, plan.sources, plan.loaded, on_event=view)
        session.finish(planned, dry_run_view(planned))
        return EXIT_FAILED if planned.teacher_problem else EXIT_DONE
    with metric_logs(plan.config, lambda lost: session.note(lost, "yellow")) as logs, TrainingView(session) as view:

        def on_event(event: "TrainEvent") -> None:
            if world.is_main:
                view(event)
                logs(event)

        result = run_training(plan.config, plan.data, plan.loaded, plan.folder, on_event, world)
    # Where stderr has no reader any more, stdout may have none either.
    with contextlib.suppress(BrokenPipeError) if result.stopped == Stop.OUTPUT_CLOSED else contextlib.nullcontext():
        session.finish(result, training_result(result))
    if result.stopped == Stop.INTERRUPTED:
        return EXIT_INTERRUPTED
    return EXIT_TERMINATED if result.stopped in (Stop.TERMINATED, Stop.OUTPUT_CLOSED) else EXIT_DONE


def _processes(given: dict[str, Any]) -> int:
    """Processes of the run, over all nodes.

    Raises:
        FastViTError: another number than the run to resume has, or one that torchrun decides.
    """
    typed: int | None = given.get("nproc_per_node")
    if is_launched():
        if typed is not None:
            raise FastViTError(
                "--nproc-per-node is typed twice: torchrun has started the processes.", "Leave it to torchrun."
            )
        typed = find_world().size
    if "resume" not in given:
        return typed or _in_file(given).get("nproc_per_node") or 1
    _, stored = _run_to_resume(given["resume"])
    before = int(stored.get("world_size", 1))
    if typed is not None and typed != before:
        raise FastViTError(
            f"The run was made by {before} process{'es' if before > 1 else ''}, and this would be {typed}.",
            f"Resume it with {before}, or start a new run from its weights with --ckpt.",
        )
    return before


def _device(given: dict[str, Any]) -> str:
    """What --device is: typed, else in the --config file, else of the run to resume."""
    stored = _run_to_resume(given["resume"])[1] if "resume" in given else {}
    device: str = {**stored, **_in_file(given), **given}.get("device", TrainConfig.device)
    return device


def _in_file(given: dict[str, Any]) -> dict[str, Any]:
    """The options in the --config file; none without one."""
    return read_config_file(Path(given["config"])) if "config" in given else {}


@dataclass(frozen=True)
class _Plan:
    """All that a run needs, before anything is built."""

    config: TrainConfig
    data: "DataChoice"
    loaded: "LoadedModel | None" = None
    folder: "RunFolder | None" = None
    sources: Mapping[str, str] = field(default_factory=dict)


def _plan(given: dict[str, Any], session: Session, processes: int = 1) -> _Plan:
    from fastvit_cli.data.sources import DEMO, ENVIRONMENT_VARIABLE

    in_file = _in_file(given)
    wanted = {**in_file, **given, "world_size": processes}
    weights = bool(wanted.get("ckpt") or wanted.get("pretrained"))

    def recipe_for(data: str | None) -> RecipeChoice:
        return choose_recipe(given.get("recipe"), in_file.get("recipe"), demo=data == DEMO, weights=weights)

    wanted = _with_absolute_paths(wanted)
    # A wrong value is said before anything is loaded or drawn, and values that must fit together are judged beside
    # those of the recipe. What data a checkpoint was trained on is not known yet; they are rarely the demo.
    unnamed = None if weights else os.environ.get(ENVIRONMENT_VARIABLE) or DEMO
    resolve_config(wanted, recipe_for(wanted.get("data") or unnamed).name)
    loaded = _weights_to_start_from(wanted, session)
    if loaded is not None:
        wanted.setdefault("variant", loaded.info.variant)
        if loaded.path is not None:  # `latest` and a run folder would be other weights some day
            wanted["ckpt"] = str(loaded.path.resolve())
    data = announced_data(wanted.get("data"), loaded.info.data if loaded else None, session)
    recipe = recipe_for(data.name)
    config = resolve_config({**wanted, "data": data.name}, recipe.name)
    # The run's config.yaml must mean the same for any number of processes.
    if processes > 1 and config.batch_size != AUTO:
        config = replace(config, total_batch_size=config.images_an_update)
    precedence = " What the --config file sets goes before it." if in_file else ""
    session.note(f"Recipe: {recipe.name} ({recipe.reason}).{precedence}")
    if recipe.warning:
        session.note(recipe.warning, style="yellow")
    sources = option_sources(
        ("option", given),
        (f"file {given.get('config')}", in_file),
        ("--nproc-per-node or torchrun", ("world_size",) if processes > 1 else ()),
        ("the weights to start from", ("variant",) if loaded is not None else ()),
        (data.reason, ("data",) if data.name != DEMO else ()),
        (f"recipe {recipe.name}", recipe_values(recipe.name, config.variant)),
    )
    return _Plan(config, data, loaded, sources=sources)


def _with_absolute_paths(wanted: dict[str, Any]) -> dict[str, Any]:
    """The run's config.yaml must mean the same from any working directory."""
    there = {
        name: Path(wanted[name]).expanduser()
        for name in ("class_map", "teacher")
        if wanted.get(name) and Path(wanted[name]).expanduser().exists()
    }
    return {**wanted, **{name: str(path.resolve()) for name, path in there.items()}}


def _weights_to_start_from(wanted: dict[str, Any], session: Session) -> "LoadedModel | None":
    """What --ckpt or --pretrained name; a run never starts from the newest run unasked."""
    if not (wanted.get("ckpt") or wanted.get("pretrained")):
        return None
    from fastvit_cli.checkpoints.select import load_source, select_source

    names = {key: wanted[key] for key in ("ckpt", "variant", "pretrained", "ema", "ckpt_key") if key in wanted}
    source = select_source(ModelConfig(**names), random_allowed=False)
    with session.bar("Loading the weights to start from"):
        loaded = load_source(source)
    for note in loaded.notes:
        session.note(note)
    return loaded


def _run_to_resume(resume: str) -> tuple[Path, dict[str, Any]]:
    """The run folder that `--resume` means, and its options: of config.yaml, or of the state where that is gone.

    Raises:
        FastViTError: no such run, or a config.yaml that cannot be read.
    """
    from fastvit_cli.checkpoints.select import CONFIG, LATEST, RUNS, newest_run
    from fastvit_cli.training.resume import options_of
    from fastvit_cli.training.run_folder import STATE, RunFolder

    # By what a run writes when it begins, and not by its weights: one that was killed before its first save counts.
    path = newest_run((CONFIG, STATE)) if resume == LATEST else Path(resume)
    if path is None or not ((path / CONFIG).is_file() or (path / STATE).is_file()):
        raise FastViTError(
            f"There is no run to resume at '{path or RUNS}'.", f"Pass --resume with a run folder that has a {CONFIG}."
        )
    folder = RunFolder(path)
    if not (path / CONFIG).is_file():
        return path, options_of(folder.read_state())
    try:
        return path, read_config_file(path / CONFIG)
    except FastViTError as error:
        if not folder.has_state:
            raise
        hint = f"Put it back, or remove it: --resume then goes on with the options in {STATE}."
        raise FastViTError(error.message, hint) from error


def _resumed_plan(given: dict[str, Any], session: Session, processes: int = 1) -> _Plan:
    from fastvit_cli.checkpoints.select import CONFIG
    from fastvit_cli.training import resume
    from fastvit_cli.training.run_folder import STATE, RunFolder

    path, stored = _run_to_resume(given["resume"])
    folder = RunFolder(path, writes=find_world().is_main)
    state = folder.read_state() if folder.has_state else None
    may_change = _MAY_CHANGE_ON_RESUME if state is None else _MAY_CHANGE_ON_RESUME | _MAY_MOVE
    if state is None:
        resume.refuse_a_lost_state(folder)
        session.note("Nothing was saved yet: the run starts from its beginning.", style="yellow")
    else:
        if not (path / CONFIG).is_file():
            session.note(f"{CONFIG} is missing: written again, with the options in {STATE}.", style="yellow")
        for note in resume.refuse_edited_options(state, stored, may_change, folder):
            session.note(note, style="yellow")
    wanted = {**_in_file(given), **given}
    if wanted.get("batch_size") == AUTO:
        del wanted["batch_size"]  # it was found when the run began
    _refuse_changes({**stored, "output": str(path)}, wanted, may_change)
    taken_up = may_change & wanted.keys() - {"resume"}
    changes = _with_absolute_paths({name: wanted[name] for name in taken_up})
    data = announced_data(changes.get("data"), stored.get("data"), session)
    config = resolve_config({**stored, **changes, "data": data.name}, None)
    assert config.world_size == processes
    if state is not None:
        resume.refuse_fewer_epochs(state, config.epochs)
    loaded = _weights_to_start_from(stored, session) if state is None else resume.model_of(state, folder)
    sources = option_sources(
        ("option", taken_up & given.keys()),
        (f"file {given.get('config')}", taken_up),
        ("the run", stored),
    )
    return _Plan(config, data, loaded, folder, sources)


def _refuse_changes(stored: dict[str, Any], wanted: dict[str, Any], may_change: Collection[str]) -> None:
    """Raises:
    FastViTError: an option that must not change has another value than the run has.
    """
    changed = {
        name: value
        for name, value in wanted.items()
        if name not in (*may_change, "config") and not _is_same(name, stored.get(name), value)
    }
    if changed:
        differences = ", ".join(f"{flag_of(name)} {stored.get(name)} -> {value}" for name, value in changed.items())
        raise FastViTError(
            f"A resumed run keeps its own options; these differ: {differences}.",
            "Leave them out, or start a new run from its weights with --ckpt.",
        )


def _is_same(name: str, stored: Any, wanted: Any) -> bool:
    """Whether an option means what the run has, however its name or path is written."""
    from fastvit_cli.checkpoints.select import LATEST

    if stored is None or wanted is None:
        return stored is wanted
    if name == "ckpt" and wanted == LATEST:
        return True  # which one that was, only the run knows
    return bool(_meaning(name, stored) == _meaning(name, wanted))


def _meaning(name: str, value: Any) -> Any:
    """The value in one way of writing it, from the working directory."""
    from fastvit_cli.checkpoints.select import checkpoint_in
    from fastvit_cli.data.sources import absolute_name

    if name == "variant":
        return get_variant(value).name
    if name == "data":
        return absolute_name(value)
    if name not in _PATHS:
        return value
    path = Path(value).expanduser()  # hf-hub:… and timm's names become paths too, equal ones equal paths
    return (checkpoint_in(path) if name == "ckpt" and path.is_dir() else path).resolve()
