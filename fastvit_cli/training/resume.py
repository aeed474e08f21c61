"""Going on with a run: its own options, and weights files that are what its state says."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastvit_cli.checkpoints.load import LoadedModel, from_tensors, load_checkpoint
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.select import CONFIG, LATEST, checkpoint_in, local_path
from fastvit_cli.data.sources import absolute_name
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.variants import get_variant
from fastvit_cli.options import flag_of
from fastvit_cli.training.events import EpochDone
from fastvit_cli.training.run_folder import RunFolder
from fastvit_cli.training.trainer import Trainer

# Where and how long a run goes on, not what it computes.
_MAY_CHANGE = frozenset(
    (
        *("resume", "check_data", "dry_run", "workers", "device", "max_bad_images", "nproc_per_node", "trust"),
        *("epochs", "save_every", "time_limit", "patience", "wandb", "grad_checkpointing"),
    )
)
# Of a run with a state also where its data is: whether it is the same is seen when it is opened.
_MAY_MOVE = frozenset(("data", "class_map"))
_MODELS = frozenset(("ckpt", "teacher"))
_PATHS = frozenset(("class_map", "output"))


_SHOWN_DIFFERENCES = 5


def options_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved options that a run had when its state was saved."""
    return ModelInfo.from_json(state["info"]).recipe


def model_of(state: Mapping[str, Any], folder: RunFolder) -> LoadedModel:
    """The network in the state, with its metadata.

    Raises:
        FastViTError: its training diverged.
    """
    loaded = from_tensors(state["network"], f"'{folder.state}'")
    return replace(loaded, info=ModelInfo.from_json(state["info"]), path=folder.state)


def may_change(state: Mapping[str, Any] | None) -> frozenset[str]:
    """The options that a run may be resumed with other values of; of one without a state with None."""
    return _MAY_CHANGE if state is None else _MAY_CHANGE | _MAY_MOVE


def refuse_edited_options(state: Mapping[str, Any], in_file: Mapping[str, Any], folder: RunFolder) -> tuple[str, ...]:
    """Compare config.yaml with the options that the state was saved with.

    Returns:
        What is to be said of those that may change, and do.

    Raises:
        FastViTError: another option differs, or one is missing.
    """
    saved = options_of(state)
    missing = [f"{name} {value} -> missing" for name, value in saved.items() if name not in in_file]
    differing = {
        name: f"{name} {value} -> {in_file[name]}"
        for name, value in saved.items()
        if name in in_file and _short_name(name, value) != _short_name(name, in_file[name])
    }
    refused = missing + [text for name, text in differing.items() if name not in may_change(state)]
    if refused:
        raise FastViTError(
            f"'{folder.path / CONFIG}' is not what the run was trained with: {_first_of(refused)}.",
            f"Put that back, or remove {CONFIG}: --resume then goes on with the options in the state.",
        )
    return tuple(f"Changed in {CONFIG} since the state was saved: {text}." for text in differing.values())


def _first_of(texts: list[str]) -> str:
    more = len(texts) - _SHOWN_DIFFERENCES
    return ", ".join(texts[:_SHOWN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def _short_name(name: str, value: Any) -> Any:
    return get_variant(value).name if name == "variant" else value


def refuse_other_options(stored: Mapping[str, Any], wanted: Mapping[str, Any], changeable: Collection[str]) -> None:
    """Compare the options that a resumed run is given with its own.

    Args:
        stored: its own, with its folder as `output`.
        wanted: typed or in the --config file.

    Raises:
        FastViTError: an option that must not change has another value than the run has.
    """
    changed = {
        name: value
        for name, value in wanted.items()
        if name not in (*changeable, "config") and not _is_same(name, stored.get(name), value)
    }
    if changed:
        differences = ", ".join(f"{flag_of(name)} {stored.get(name)} -> {value}" for name, value in changed.items())
        raise FastViTError(
            f"A resumed run keeps its own options; these differ: {differences}.",
            "Leave them out, or start a new run from its weights with --ckpt.",
        )


def _is_same(name: str, stored: Any, wanted: Any) -> bool:
    """Whether an option means what the run has, however its name or path is written."""
    if stored is None or wanted is None:
        return stored is wanted
    if name == "ckpt" and wanted == LATEST:
        return True  # which one that was, only the run knows
    return bool(_meaning(name, stored) == _meaning(name, wanted))


def _meaning(name: str, value: Any) -> Any:
    """The value in one way of writing it, from the working directory."""
    if name == "data":
        return absolute_name(value)
    if name in _PATHS:
        return Path(value).expanduser().resolve()
    if name in _MODELS:  # hf-hub:… and timm's names become paths too, equal ones equal paths
        path = local_path(value)
        return (checkpoint_in(path) if name == "ckpt" and path.is_dir() else path).resolve()
    return _short_name(name, value)


def refuse_fewer_epochs(state: Mapping[str, Any], epochs: int) -> None:
    """Refuse an end that the run is past.

    Raises:
        FastViTError: the run is past its end.
    """
    begun = state["epoch"] + bool(state["step"])
    if epochs < begun:
        raise FastViTError(
            f"The run {'is in' if state['step'] else 'has done'} epoch {begun}, and --epochs is {epochs}.",
            f"Pass --epochs {begun} or more, or start a new run.",
        )


def refuse_a_lost_state(folder: RunFolder) -> None:
    """Of a run without a state: whether there was one.

    Raises:
        FastViTError: something else is in its place, or the run has saved one: it logs an epoch after that.
    """
    way_on = f"Copy it again if it was copied, or {folder.go_on_from_weights}."
    if folder.state.exists() or folder.state.is_symlink():
        raise FastViTError(f"'{folder.state}' is no file.", way_on)
    if folder.has_logged_an_epoch:
        raise FastViTError(f"'{folder.state}' is gone, and the run has finished epochs.", way_on)


def check_weights(trainer: Trainer, folder: RunFolder) -> None:
    """Notice weights files that are gone or damaged, say so, and write again what the state has of them.

    Raises:
        FastViTError: best.safetensors is damaged, or of another epoch than the state says; nothing is written.
    """
    best, done = trainer.best, len(trainer.history)
    if best is not None and folder.best.exists():
        _refuse_another_best(folder, best, done)
    last_is_lost = not _is_whole(folder)
    # All processes have looked before one writes, and the same row is the best to all of them.
    best_is_lost = bool(trainer.world.all_reduce_max(int(best is not None and not folder.best.exists())))
    if best_is_lost:
        assert best is not None
        _replace_lost_best(trainer, folder, best)
    if last_is_lost:
        ended = trainer.history[-1].val_top1 if trainer.step == 0 and done else None
        folder.write_last(trainer.weights, trainer.info, done, ended)
        _say(trainer, folder, f"{folder.last.name} was missing or damaged: written again from the state.")


def _replace_lost_best(trainer: Trainer, folder: RunFolder, best: EpochDone) -> None:
    """Write best.safetensors again where the state has those weights, else that of the epoch that just ended."""
    if trainer.step == 0 and best.epoch == len(trainer.history):
        text = "written again from the state"
    else:
        trainer.give_up_best()
        lost = f"the best weights, top-1 {best.val_top1:.2f} % in epoch {best.epoch}, are lost"
        now = trainer.best
        text = f"{lost}; " + (
            "the next epoch takes their place"
            if now is None
            else f"those of epoch {now.epoch}, {now.val_top1:.2f} %, take their place"
        )
    # The state first: if this ends in between, the next resume finds the file missing again.
    folder.write_state(trainer.state())
    if trainer.best is not None:
        folder.write_best(trainer.weights, trainer.info, trainer.history)
    folder.write_metrics(trainer.history)
    _say(trainer, folder, f"{folder.best.name} was missing: {text}.")


def _refuse_another_best(folder: RunFolder, best: EpochDone, done: int) -> None:
    hint = "Copy it again if it was copied, or remove it: the run then goes on without it."
    try:
        info = load_checkpoint(folder.best).info
    except FastViTError as error:
        raise FastViTError(error.message, hint) from error
    # A run that is killed between its best weights and its state has those of the next epoch, which it repeats.
    if info.epoch != done + 1 and (info.epoch, info.top1) != (best.epoch, best.val_top1):
        raise FastViTError(
            f"'{folder.best}' holds the weights of epoch {info.epoch}, and the best of the run is {best.epoch}.", hint
        )


def _is_whole(folder: RunFolder) -> bool:
    try:
        load_checkpoint(folder.last)
    except FastViTError:
        return False
    return True


def _say(trainer: Trainer, folder: RunFolder, note: str) -> None:
    trainer.notes = (*trainer.notes, note)
    folder.log(note)
