"""`fastvit train`."""

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fastvit_cli.commands.check import check_images
from fastvit_cli.commands.inputs import announced_data, announced_weights
from fastvit_cli.commands.signature import command_line
from fastvit_cli.distributed import World, find_world, is_launched, joined, launch
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED
from fastvit_cli.training.given_options import GivenOptions, read_given_options
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from fastvit_cli.training.events import TrainEvent
    from fastvit_cli.training.plan import PlanNote, RunPlan


def train(typed: Mapping[str, Any], session: Session) -> int:
    """Train on class folders and keep the best weights.

    The network is scored after each epoch. Without [bold]--data[/] it learns the built-in demo images. Ctrl-C
    ends cleanly and keeps the weights.

    Example: [cyan]fastvit train --variant sa24 --data photos --epochs 50[/]
    """
    given = read_given_options(typed, find_world().size if is_launched() else None)
    if given.processes > 1 and not is_launched() and not (typed.get("check_data") or typed.get("dry_run")):
        options = {name: value for name, value in given.typed.items() if name != "nproc_per_node"}
        return launch(command_line("train", options, session), given.processes, given.device)
    world = find_world()
    with joined(world, given.device):
        return _train(given, session if world.is_main else session.silent(), world)


def _train(given: GivenOptions, session: Session, world: World) -> int:
    """One process's part of the run."""
    from fastvit_cli.data.sources import splits_of
    from fastvit_cli.devices import resolve_device
    from fastvit_cli.training.dry_run import dry_run
    from fastvit_cli.training.metric_logs import metric_logs
    from fastvit_cli.training.stopping import Stop
    from fastvit_cli.training.train import run_training
    from fastvit_cli.ui.dry_run_view import dry_run_view
    from fastvit_cli.ui.training_view import TrainingView, training_result

    with world.main_first():
        # A look at the data needs no more of the plan than which data it is.
        plan = _announced_plan(given, session.silent() if given.wanted.get("check_data") else session, world)
    if plan.config.check_data:
        session.note(f"Data: {plan.data.name} ({plan.data.reason}).")
        return check_images(plan.data, splits_of(plan.data), plan.config, session)
    session.device = str(resolve_device(plan.config.device, world.local_rank))
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


def _announced_plan(given: GivenOptions, session: Session, world: World) -> "RunPlan":
    """`plan_run`, with bars for what takes long and a line for what was decided."""
    from fastvit_cli.training.plan import PlanSteps, plan_run

    def on_event(note: "PlanNote") -> None:
        session.note(note.text, "yellow" if note.is_warning else "")

    load_weights = partial(announced_weights, session=session, label="Loading the weights to start from")
    return plan_run(given, PlanSteps(on_event, load_weights, partial(announced_data, session=session)), world)
