"""`fastvit bench`."""

from typing import TYPE_CHECKING

from fastvit_cli.bench.config import BenchConfig
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED, FastViTError
from fastvit_cli.options import ModelConfig
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from fastvit_cli.bench.run import Subject


def bench(config: BenchConfig, session: Session) -> int:
    """Measure latency, throughput and memory.

    Median, 90th and 99th percentile after a warm-up. Several models are rows of one table; one that cannot run
    is a row with the reason. Without a model the newest run is timed, and without a run a t8 with random
    weights.

    Example: [cyan]fastvit bench --variant t8 --variant sa12 --batch-size 8[/]
    """
    from pathlib import Path

    from fastvit_cli.bench.events import SubjectStarted
    from fastvit_cli.bench.run import run_bench
    from fastvit_cli.devices import resolve_device
    from fastvit_cli.ui.session import write_json_file
    from fastvit_cli.ui.views import bench_view

    resolve_device(config.device)  # a device that is not there ends it before anything is loaded
    subjects = _subjects(config, session)
    with session.bar("Timing") as bar:
        result = run_bench(
            config,
            subjects,
            lambda event: (
                bar.describe(f"Timing {event.name} ({event.position} of {event.total})")
                if isinstance(event, SubjectStarted)
                else None
            ),
        )
    if config.output is not None:
        write_json_file(Path(config.output) / "results.json", session.envelope(result))
    session.finish(result, bench_view(result))
    return EXIT_FAILED if all(row.error for row in result.results) else EXIT_DONE


def _subjects(config: BenchConfig, session: Session) -> "list[Subject]":
    """What was named, in the order ckpt, variant; else the newest run, else a random t8."""
    named = [ModelConfig(ckpt=ckpt) for ckpt in config.ckpt]
    named += [ModelConfig(variant=variant, pretrained=config.pretrained) for variant in config.variant]
    return [_subject(model, session) for model in named or [ModelConfig()]]


def _subject(model: ModelConfig, session: Session) -> "Subject":
    from fastvit_cli.bench.run import Subject
    from fastvit_cli.checkpoints.select import load_source, select_source

    source = select_source(model, random_allowed=True, default_variant="t8")
    if source.random_variant is not None:
        session.note(f"{source.name} with random weights: latency does not depend on them.")
    else:
        session.note(f"Model: {source.name} ({source.reason}).")
    try:
        loaded = load_source(source)
    except FastViTError as error:
        return Subject(name=source.name, error=error.message)
    return Subject(name=source.name, network=loaded.network, info=loaded.info)
