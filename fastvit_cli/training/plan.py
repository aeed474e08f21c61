"""What a run will be, decided before anything is built: its options, data, weights and folder."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.checkpoints.select import CONFIG, ModelSource, load_source, select_source
from fastvit_cli.data.sources import DEMO, ENVIRONMENT_VARIABLE, DataChoice, choose_data, open_images
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.options import AUTO_NUMBER, ModelConfig, TrainedData
from fastvit_cli.training import resume
from fastvit_cli.training.fit_to_data import fit_to_data
from fastvit_cli.training.given_options import GivenOptions, StoredRun
from fastvit_cli.training.recipe_files import RecipeChoice, choose_recipe
from fastvit_cli.training.resolve_options import option_sources, recipe_values, resolve_config
from fastvit_cli.training.run_folder import STATE, RunFolder
from fastvit_cli.training.train_options import TrainConfig


@dataclass(frozen=True)
class RunPlan:
    """All that a run needs.

    Attributes:
        loaded: weights that it starts from or goes on with; None for random ones.
        folder: of the run to resume; None for a new one.
        sources: where each option has its value from, by `option_sources`.
    """

    config: TrainConfig
    data: DataChoice
    loaded: LoadedModel | None
    folder: RunFolder | None
    sources: Mapping[str, str]


@dataclass(frozen=True)
class PlanNote:
    """A line to read about the run."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class PlanSteps:
    """What of the planning its user may watch; by default nothing is shown.

    Attributes:
        on_event: called with each note.
        load_weights: `checkpoints.select.load_source`, or that with a bar.
        choose_data: `data.sources.choose_data` of `--data` and what the weights were trained on, or that with a bar.
    """

    on_event: Callable[[PlanNote], None] = lambda _: None
    load_weights: Callable[[ModelSource], LoadedModel] = load_source
    choose_data: Callable[[str | None, TrainedData | None], DataChoice] = choose_data


_UNSEEN = PlanSteps()


def plan_run(given: GivenOptions, steps: PlanSteps = _UNSEEN, world: World = ALONE) -> RunPlan:
    """Decide all of a new run, or of one to go on with.

    Raises:
        FastViTError: options that cannot be or do not fit together, no such data or weights, or a run to resume that
            has lost or edited files, is past its end, or has other options than were given.
    """
    if given.run is None:
        return _plan_new_run(given, steps)
    return _plan_resumed_run(given, given.run, steps, world)


def _plan_new_run(given: GivenOptions, steps: PlanSteps) -> RunPlan:
    wanted = _with_absolute_paths({**given.wanted, "world_size": given.processes})
    has_weights = bool(wanted.get("ckpt") or wanted.get("pretrained"))

    def recipe_for(data: str | None) -> RecipeChoice:
        typed, in_file = given.typed.get("recipe"), given.in_file.get("recipe")
        frozen = bool(wanted.get("freeze_backbone"))
        return choose_recipe(typed, in_file, demo=data == DEMO, weights=has_weights, frozen=frozen)

    # A wrong value is said before anything is loaded or drawn, and values that must fit together are judged beside
    # those of the recipe. What data a checkpoint was trained on is not known yet; they are rarely the demo.
    unnamed = None if has_weights else os.environ.get(ENVIRONMENT_VARIABLE) or DEMO
    resolve_config(wanted, recipe_for(wanted.get("data") or unnamed).name)
    loaded = _weights_to_start_from(wanted, steps)
    if loaded is not None:
        wanted.setdefault("variant", loaded.info.variant)
        if loaded.path is not None:  # `latest` and a run folder would be other weights some day
            wanted["ckpt"] = str(loaded.path.resolve())
    trained = TrainedData(loaded.info.data) if loaded is not None and loaded.info.data is not None else None
    data = steps.choose_data(wanted.get("data"), trained)
    recipe = recipe_for(data.name)
    config = resolve_config({**wanted, "data": data.name}, recipe.name)
    data = replace(data, val_split=config.val_split)
    config, fitted = _fitted(config, given, data)
    # The run's config.yaml must mean the same for any number of processes.
    if given.processes > 1 and config.batch_size != AUTO_NUMBER:
        config = replace(config, total_batch_size=config.effective_batch_size)
    precedence = " What the --config file sets goes before it." if given.in_file else ""
    steps.on_event(PlanNote(f"Recipe: {recipe.name} ({recipe.reason}).{precedence}"))
    for note in fitted:
        steps.on_event(PlanNote(note))
    if recipe.warning:
        steps.on_event(PlanNote(recipe.warning, is_warning=True))
    sources = option_sources(
        ("option", given.typed),
        (given.file_source, given.in_file),
        ("--nproc-per-node or torchrun", ("world_size",) if given.processes > 1 else ()),
        ("the weights to start from", ("variant",) if loaded is not None else ()),
        (data.reason, ("data",) if data.name != DEMO else ()),
        (f"recipe {recipe.name}", recipe_values(recipe.name, config.variant)),
    )
    return RunPlan(config, data, loaded, None, sources)


def _fitted(config: TrainConfig, given: GivenOptions, data: DataChoice) -> tuple[TrainConfig, tuple[str, ...]]:
    """The configuration for as many images as there are, which are counted where that matters."""
    if config.updates is None:
        return config, ()
    images = open_images(data, "train", config.class_map)
    return fit_to_data(config, given.wanted.keys(), len(images))


def _plan_resumed_run(given: GivenOptions, run: StoredRun, steps: PlanSteps, world: World) -> RunPlan:
    folder = RunFolder(run.path, writes=world.is_main)
    state = folder.read_state() if folder.has_state else None
    for note in _notes_on_files(run, state, folder):
        steps.on_event(PlanNote(note, is_warning=True))
    wanted = given.wanted
    if wanted.get("batch_size") == AUTO_NUMBER:
        del wanted["batch_size"]  # it was found when the run began
    changeable = resume.may_change(state)
    resume.refuse_other_options({**run.options, "output": str(run.path)}, wanted, changeable)
    changed = changeable & (wanted.keys() - {"resume"})
    changes = _with_absolute_paths({name: wanted[name] for name in changed})
    trained = TrainedData(run.options["data"]) if run.options.get("data") else None
    data = steps.choose_data(changes.get("data"), trained)
    config = resolve_config({**run.options, **changes, "data": data.name}, None)
    data = replace(data, val_split=config.val_split)
    assert config.world_size == given.processes
    if state is None:
        loaded = _weights_to_start_from(run.options, steps)
    else:
        resume.refuse_fewer_epochs(state, config.epochs)
        loaded = resume.model_of(state, folder)
    sources = option_sources(
        ("option", changed & given.typed.keys()),
        (given.file_source, changed),
        ("the run", run.options),
    )
    return RunPlan(config, data, loaded, folder, sources)


def _notes_on_files(run: StoredRun, state: Mapping[str, Any] | None, folder: RunFolder) -> tuple[str, ...]:
    """What is to be said of a run's config.yaml and state.

    Raises:
        FastViTError: the state is lost, or config.yaml was edited where it must not be.
    """
    if state is None:
        resume.refuse_a_lost_state(folder)
        return ("Nothing was saved yet: the run starts from its beginning.",)
    if not run.has_config:
        return (f"{CONFIG} is missing: written again, with the options in {STATE}.",)
    return resume.refuse_edited_options(state, run.options, folder)


def _with_absolute_paths(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The run's config.yaml must mean the same from any working directory."""
    there = {
        name: Path(wanted[name]).expanduser()
        for name in ("class_map", "teacher")
        if wanted.get(name) and Path(wanted[name]).expanduser().exists()
    }
    return {**wanted, **{name: str(path.resolve()) for name, path in there.items()}}


def _weights_to_start_from(wanted: Mapping[str, Any], steps: PlanSteps) -> LoadedModel | None:
    """What --ckpt or --pretrained name; a run never starts from the newest run unasked."""
    if not (wanted.get("ckpt") or wanted.get("pretrained")):
        return None
    names = {key: wanted[key] for key in ("ckpt", "variant", "pretrained", "ema", "ckpt_key") if key in wanted}
    return steps.load_weights(select_source(ModelConfig(**names), random_allowed=False))
