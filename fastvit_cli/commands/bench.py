"""`fastvit bench`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastvit_cli.bench.bench_options import BenchConfig
from fastvit_cli.errors import EXIT_DONE, EXIT_FAILED, FastViTError
from fastvit_cli.formats import EXPORTED_SUFFIXES, engines_taking
from fastvit_cli.options import ModelConfig
from fastvit_cli.ui.session import Session

if TYPE_CHECKING:
    from torch import nn

    from fastvit_cli.bench.subjects import Subject
    from fastvit_cli.checkpoints.metadata import ModelInfo
    from fastvit_cli.checkpoints.select import ModelSource


def bench(config: BenchConfig, session: Session) -> int:
    """Measure latency, throughput and memory, and show where the time goes.

    Each subject is warmed up until it no longer gets faster. Then all of one batch and image size are timed in
    rounds, each having its turn in every round, so that a slow moment of the machine hits all of them. Beside the
    median stands its 95 % interval, beside each ratio as well. What cannot run is a row with the reason. Without a
    model the newest run is timed, and without a run a t8 with random weights.

    Example: [cyan]fastvit bench --variant all --engine torch --engine onnxruntime --peer timm --output bench[/]
    """
    import os
    from functools import partial

    if not session.verbose:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler; has an effect only before torch is there

    from fastvit_cli.bench.compare import compare_runs, read_run
    from fastvit_cli.bench.run import run_bench
    from fastvit_cli.bench.scores import with_scores
    from fastvit_cli.devices import resolve_device
    from fastvit_cli.ui.bench_files import prepare_folder, write_bench_files
    from fastvit_cli.ui.bench_views import BenchView, bench_view

    # A device that is not there ends it before anything is loaded.
    session.device = str(resolve_device(config.device))
    old = None if config.compare is None else read_run(Path(config.compare))
    folder = None if config.output is None else prepare_folder(Path(config.output))
    subjects = with_scores(_subjects(config, session), [Path(path) for path in config.validated])
    with BenchView(session) as view:
        run = run_bench(config, subjects, view, _write_package)
    if old is not None:
        run = replace(run, result=replace(run.result, comparison=compare_runs(old, run.result, config.tolerance)))
    write = None if folder is None else partial(write_bench_files, folder, run)
    session.finish(run.result, bench_view(run.result), write)
    if folder is not None:
        session.note(f"Written to {folder}: open {folder / 'report.html'} in a browser.")
    failed = all(row.error for row in run.result.results)
    slower = run.result.comparison is not None and not run.result.comparison.passed
    return EXIT_FAILED if failed or slower else EXIT_DONE


def _subjects(config: BenchConfig, session: Session) -> "list[Subject]":
    """What was named, in the order ckpt, variant, each with its peers; else the newest run, else a random t8."""
    from fastvit_cli.bench.subjects import timm_peer
    from fastvit_cli.checkpoints.metadata import OTHER_VARIANT

    named = [ModelConfig(ckpt=ckpt) for ckpt in config.ckpt]
    named += [ModelConfig(variant=variant, pretrained=config.pretrained) for variant in config.variants]
    subjects = []
    for model in named or [ModelConfig()]:
        subject = _subject(replace(model, seed=config.seed), session)
        subjects.append(subject)
        # Peers differ by variant alone: two files of one variant share one.
        have = {other.info.variant for other in subjects if other.peer and other.info} | {OTHER_VARIANT}
        if config.peer and subject.info is not None and subject.info.variant not in have:
            subjects.append(timm_peer(subject.info.variant))
    return subjects


def _subject(model: ModelConfig, session: Session) -> "Subject":
    from fastvit_cli.bench.subjects import Subject
    from fastvit_cli.checkpoints.metadata import OTHER_VARIANT
    from fastvit_cli.checkpoints.select import select_source, trained_on
    from fastvit_cli.models.variants import get_variant

    source = select_source(model, random_allowed=True, default_variant="t8")
    if source.random_variant is not None:
        session.note(f"{source.name} with random weights: latency does not depend on them.")
    else:
        session.note(f"Model: {source.name} ({source.reason}).")
    try:
        network, info = _opened(source, session)
    except FastViTError as error:
        return Subject(name=source.name, error=error.message)
    if info.variant == OTHER_VARIANT:
        session.note(f"{source.name} is of another program: it is timed as it is, its operations are not counted.")
    if source.path is not None:
        trained = trained_on(source.path, info)
        top1, top1_source, top1_data = info.top1, "measured", trained.data if trained else None
    else:
        published = source.hub.published_top1 if source.hub else get_variant(info.variant).top1
        top1, top1_source, top1_data = published, "published", None
    return Subject(
        name=source.name,
        network=network,
        path=source.path if network is None else None,
        info=info,
        top1=top1,
        top1_source=None if top1 is None else top1_source,
        top1_data=None if top1 is None else top1_data,
    )


def _opened(source: "ModelSource", session: Session) -> "tuple[nn.Module | None, ModelInfo]":
    """The network of weights, None of an exported file, and what is known of either."""
    import torch

    from fastvit_cli.runtimes.onnx_runtime import graph_info
    from fastvit_cli.runtimes.open import open_source
    from fastvit_cli.runtimes.torch_runtime import TorchRuntime

    if source.path is not None and source.exported is not None:
        if not engines_taking(source.path.suffix):
            timed = " and ".join(filter(engines_taking, EXPORTED_SUFFIXES))
            raise FastViTError(
                f"'{source.path}' is an exported file of a kind that is not timed: {timed} are.",
                "Pass the checkpoint that it was made from.",
            )
        if source.exported.name == "onnx":  # of any program
            return None, graph_info(source.path)
    opened = open_source(source, torch.device("cpu"), session.note)
    return opened.network if isinstance(opened, TorchRuntime) else None, opened.info


def _write_package(network: "nn.Module", info: "ModelInfo", path: Path) -> None:
    """A Core ML package as `fastvit export` writes it."""
    from fastvit_cli.exporters.coreml import write
    from fastvit_cli.exporters.export_options import ExportConfig
    from fastvit_cli.models.channels_first import channels_first
    from fastvit_cli.models.network import FastViT

    assert isinstance(network, FastViT)
    write(channels_first(network), info, path, ExportConfig(format="coreml"), None)
