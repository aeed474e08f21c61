"""`fastvit train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastvit_cli.commands.inputs import announced_data, check_data
from fastvit_cli.errors import EXIT_DONE, EXIT_INTERRUPTED, FastViTError
from fastvit_cli.options import ModelConfig
from fastvit_cli.training.config import DEFAULT_RECIPE, DEMO_RECIPE, read_config_file, resolve_config
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from fastvit_cli.checkpoints.load import LoadedModel
    from fastvit_cli.training.train import TrainResult

_MAY_CHANGE_ON_RESUME = frozenset(("resume", "workers", "device"))


def train(given: dict[str, Any], session: Session) -> int:
    """Train on class folders and keep the best weights.

    The network is scored after each epoch. Without [bold]--data[/] it learns the built-in demo images. Ctrl-C
    ends cleanly and keeps the weights.

    Example: [cyan]fastvit train --variant sa24 --data photos --epochs 50[/]
    """
    from fastvit_cli.ui.training_view import training_result

    if given.get("check_data"):
        config = resolve_config({key: value for key, value in given.items() if key != "resume"}, recipe=None)
        return check_data(config.data, ("train", "val"), config, session)
    result = _resume(given, session) if "resume" in given else _start(given, session)
    session.finish(result, training_result(result))
    return EXIT_INTERRUPTED if result.interrupted else EXIT_DONE


def _start(given: dict[str, Any], session: Session) -> "TrainResult":
    from fastvit_cli.data.sources import DEMO
    from fastvit_cli.training.train import train as run_training
    from fastvit_cli.ui.training_view import TrainingView

    wanted = {**(read_config_file(Path(given["config"])) if "config" in given else {}), **given}
    resolve_config(wanted, recipe=None)  # a wrong value is said before anything is loaded or drawn
    loaded = _weights_to_start_from(wanted, session)
    if loaded is not None:
        wanted.setdefault("variant", loaded.info.variant)
    data = announced_data(wanted.get("data"), loaded.info.data if loaded else None, session)
    recipe = DEMO_RECIPE if data.name == DEMO else DEFAULT_RECIPE
    config = resolve_config({**wanted, "data": data.name}, recipe)
    with TrainingView(session) as view:
        return run_training(config, data, loaded, on_event=view)


def _weights_to_start_from(wanted: dict[str, Any], session: Session) -> "LoadedModel | None":
    """What --ckpt or --pretrained name; a run never starts from the newest run unasked."""
    if not (wanted.get("ckpt") or wanted.get("pretrained")):
        return None
    from fastvit_cli.checkpoints.select import load_source, select_source

    names = {key: wanted[key] for key in ("ckpt", "variant", "pretrained", "ema") if key in wanted}
    source = select_source(ModelConfig(**names), random_allowed=False)
    with session.bar("Loading the weights to start from"):
        return load_source(source)


def _resume(given: dict[str, Any], session: Session) -> "TrainResult":
    from fastvit_cli.checkpoints.select import LATEST, RUNS, newest_run
    from fastvit_cli.training.run_folder import CONFIG, RunFolder
    from fastvit_cli.training.train import train as run_training
    from fastvit_cli.ui.training_view import TrainingView

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
    data = announced_data(config.data, None, session)
    with TrainingView(session) as view:
        return run_training(config, data, resume=RunFolder(path), on_event=view)
