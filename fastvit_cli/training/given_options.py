"""What a run is asked to be: options as typed, in the --config file, and of the run to resume; each is read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastvit_cli.errors import FastViTError
from fastvit_cli.training.resolve_options import read_config_file
from fastvit_cli.training.train_options import TrainConfig


@dataclass(frozen=True)
class StoredRun:
    """A run to resume.

    Attributes:
        options: of its config.yaml, or of its state where that is gone.
        has_config: whether its config.yaml is there.
    """

    path: Path
    options: Mapping[str, Any]
    has_config: bool


@dataclass(frozen=True)
class GivenOptions:
    """The options that a run was given, before any recipe or default; what was not given is absent.

    Attributes:
        typed: on the command line; `resume` is the path of `run`, whatever was typed for it.
        in_file: in the --config file.
        run: the one to resume; None for a new one.
        processes: of the run, over all nodes.
    """

    typed: Mapping[str, Any]
    in_file: Mapping[str, Any]
    run: StoredRun | None
    processes: int

    @property
    def wanted(self) -> dict[str, Any]:
        """The typed ones over those in the file."""
        return {**self.in_file, **self.typed}

    @property
    def file_source(self) -> str:
        """What to call the --config file where an option has its value from there."""
        return f"file {self.typed.get('config')}"

    @property
    def device(self) -> str:
        """What --device is: typed, else in the --config file, else of the run to resume."""
        stored = {} if self.run is None else self.run.options
        device: str = {**stored, **self.wanted}.get("device", TrainConfig.device)
        return device


def read_given_options(typed: Mapping[str, Any], launched: int | None = None) -> GivenOptions:
    """Find the run and read the file that the typed options name.

    Args:
        typed: options by their names.
        launched: processes that torchrun, or this program as a launcher, has started; None where neither has.

    Raises:
        FastViTError: no such run or file, one that cannot be read, another number of processes than the run to resume
            has, or one that torchrun decides.
    """
    run = _find_run(typed["resume"]) if "resume" in typed else None
    if run is not None:  # for all processes the same run, whatever else is written meanwhile
        typed = {**typed, "resume": str(run.path)}
    processes: int | None = typed.get("nproc_per_node")
    if launched is not None:
        if processes is not None:
            raise FastViTError(
                "--nproc-per-node is typed twice: torchrun has started the processes.", "Leave it to torchrun."
            )
        processes = launched
    if run is not None:
        processes = _processes_of(run, processes)
    in_file = read_config_file(Path(typed["config"])) if "config" in typed else {}
    return GivenOptions(typed, in_file, run, processes or in_file.get("nproc_per_node") or 1)


def _processes_of(run: StoredRun, wanted: int | None) -> int:
    """The number of processes that made a run.

    Raises:
        FastViTError: it has another number than is wanted.
    """
    before = int(run.options.get("world_size", 1))
    if wanted not in (None, before):
        raise FastViTError(
            f"The run was made by {before} process{'es' if before > 1 else ''}, and this would be {wanted}.",
            f"Resume it with {before}, or start a new run from its weights with --ckpt.",
        )
    return before


def _find_run(resume: str) -> StoredRun:
    """The run that `--resume` means: a folder, or the latest one.

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
        return StoredRun(path, options_of(folder.read_state()), has_config=False)
    try:
        return StoredRun(path, read_config_file(path / CONFIG), has_config=True)
    except FastViTError as error:
        if not folder.has_state:
            raise
        hint = f"Put it back, or remove it: --resume then goes on with the options in {STATE}."
        raise FastViTError(error.message, hint) from error
