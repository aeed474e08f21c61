"""`fastvit train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastvit_cli.commands.inputs import announced_data, check_data
from fastvit_cli.errors import EXIT_DONE, EXIT_INTERRUPTED, FastViTError
from fastvit_cli.options import ModelConfig
from fastvit_cli.training.config import DEFAULT_RECIPE, DEMO_RECIPE, TrainConfig, read_config_file, resolve_config
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from fastvit_cli.checkpoints.load import LoadedModel
    from fastvit_cli.data.sources import DataChoice
    from fastvit_cli.training.run_folder import RunFolder

_MAY_CHANGE_ON_RESUME = frozenset(("resume", "workers", "device", "max_bad_images", "check_data"))


def train(given: dict[str, Any], session: Session) -> int:
    """Train on class folders and keep the best weights.

    The network is scored after each epoch. Without [bold]--data[/] it learns the built-in demo images. Ctrl-C
    ends cleanly and keeps the weights.

    Example: [cyan]fastvit train --variant sa24 --data photos --epochs 50[/]
    """
    from fastvit_cli.training.train import train as run_training
    from fastvit_cli.ui.training_view import TrainingView, training_result

    plan = _resumed_plan(given, session) if "resume" in given else _plan(given, session)
    if plan.config.check_data:
        return check_data(plan.data, ("train", "val"), plan.config, session)
    with TrainingView(session) as view:
        result = run_training(plan.config, plan.data, plan.loaded, plan.folder, on_event=view)
    session.finish(result, training_result(result))
    return EXIT_INTERRUPTED if result.interrupted else EXIT_DONE


@dataclass(frozen=True)
class _Plan:
    """All that a run needs, before anything is built."""

    config: TrainConfig
    data: "DataChoice"
    loaded: "LoadedModel | None" = None
    folder: "RunFolder | None" = None


def _plan(given: dict[str, Any], session: Session) -> _Plan:
    from fastvit_cli.data.sources import DEMO

    wanted = {**(read_config_file(Path(given["config"])) if "config" in given else {}), **given}
    if wanted.get("class_map"):  # the run's config.yaml must mean the same from any working directory
        wanted["class_map"] = str(Path(wanted["class_map"]).expanduser().resolve())
    resolve_config(wanted, recipe=None)  # a wrong value is said before anything is loaded or drawn
    loaded = _weights_to_start_from(wanted, session)
    if loaded is not None:
        wanted.setdefault("variant", loaded.info.variant)
    data = announced_data(wanted.get("data"), loaded.info.data if loaded else None, session)
    recipe = DEMO_RECIPE if data.name == DEMO else DEFAULT_RECIPE
    return _Plan(resolve_config({**wanted, "data": data.name}, recipe), data, loaded)


def _weights_to_start_from(wanted: dict[str, Any], session: Session) -> "LoadedModel | None":
    """What --ckpt or --pretrained name; a run never starts from the newest run unasked."""
    if not (wanted.get("ckpt") or wanted.get("pretrained")):
        return None
    from fastvit_cli.checkpoints.select import load_source, select_source

    names = {key: wanted[key] for key in ("ckpt", "variant", "pretrained", "ema") if key in wanted}
    source = select_source(ModelConfig(**names), random_allowed=False)
    with session.bar("Loading the weights to start from"):
        return load_source(source)


def _resumed_plan(given: dict[str, Any], session: Session) -> _Plan:
    from fastvit_cli.checkpoints.select import LATEST, RUNS, newest_run
    from fastvit_cli.training.run_folder import CONFIG, RunFolder

    other = sorted(set(given) - _MAY_CHANGE_ON_RESUME)
    if other:
        raise FastViTError(
            f"A resumed run keeps its own options; {', '.join('--' + name for name in other)} cannot change.",
            "Leave them out, or start a new run from its weights with --ckpt.",
        )
    path = newest_run() if given["resume"] == LATEST else Path(given["resume"])
    if path is None or not (path / CONFIG).is_file():
        raise FastViTError(
            f"There is no run to resume at '{path or RUNS}'.", f"Pass --resume with a run folder that has a {CONFIG}."
        )
    changed = {name: value for name, value in given.items() if name != "resume"}
    config = resolve_config({**read_config_file(path / CONFIG), **changed}, recipe=None)
    return _Plan(config, announced_data(config.data, None, session), folder=RunFolder(path))
