"""What there is to time: every subject in every way that was asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fastvit_cli.bench.bench_options import BenchConfig
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.errors import FastViTError
from fastvit_cli.formats import engines_taking
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import get_variant

COMPUTE_UNITS = ("all", "cpu_and_ne", "cpu_and_gpu", "cpu_only")
_COREML_DTYPE = "float16"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Something to time: a network or an exported file with its metadata, or the reason why there is none.

    Attributes:
        name: what its row is called.
        network: left as it is; a copy is fused, moved and timed.
        path: of an exported file.
        peer: library whose network it is; None for ours.
        top1, top1_source, top1_data: see `events.BenchRow`.
        error: one line; set exactly when info and the rest are not.
    """

    name: str
    network: nn.Module | None = None
    path: Path | None = None
    info: ModelInfo | None = None
    peer: str | None = None
    top1: float | None = None
    top1_source: str | None = None
    top1_data: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        assert (self.error is None) == (self.info is not None) == ((self.network is None) != (self.path is None))


@dataclass(frozen=True)
class Case:
    """One subject in one way.

    Attributes:
        img_size: in pixels; None for the model's own.
        compute_units: of Core ML.
    """

    subject: Subject
    engine: str
    fuse: str
    dtype: str
    batch_size: int
    img_size: int | None
    compute_units: str | None = None


def timm_peer(variant: str) -> Subject:
    """timm's network of the same name, with random weights, unfused."""
    import timm

    row = get_variant(variant)
    name = f"timm fastvit_{variant}"
    try:
        network = timm.create_model(f"fastvit_{variant}").eval()
    except Exception as error:  # timm raises what its builders meet
        return Subject(name=name, peer="timm", error=f"timm cannot build it ({type(error).__name__}: {error})")
    info = ModelInfo(row.name, "unfused", network.num_classes, default_preprocessing(row))
    published = None if row.top1 is None else "published"
    return Subject(name=name, network=network, info=info, peer="timm", top1=row.top1, top1_source=published)


def blocks(config: BenchConfig, subjects: Sequence[Subject]) -> list[list[Case]]:
    """Every case, those that are timed side by side in one list: of one batch size and, where it was asked for, one
    image size."""
    return [
        [
            case
            for subject in subjects
            for engine in _engines(config, subject)
            for size in _sizes(subject, subjects, img_size)
            for case in _cases(config, subject, engine, batch_size, size)
        ]
        for img_size in config.img_sizes
        for batch_size in config.batch_sizes
    ]


def _engines(config: BenchConfig, subject: Subject) -> tuple[str, ...]:
    if subject.peer is not None:
        return ("torch",)
    if subject.path is None:
        return tuple(dict.fromkeys(config.engine))
    able = engines_taking(subject.path.suffix)
    return tuple(engine for engine in able if engine in config.engine) or able[:1]


def _sizes(subject: Subject, subjects: Sequence[Subject], img_size: int | None) -> tuple[int | None, ...]:
    """The one that was asked for, else the subject's own; a peer has those of the networks that it is a peer of."""
    if img_size is not None or subject.peer is None or subject.info is None:
        return (img_size,)
    ours = [other.info for other in subjects if other.peer is None and other.info is not None]
    return tuple(dict.fromkeys(o.preprocessing.img_size for o in ours if o.variant == subject.info.variant)) or (
        None,
    )


def _cases(
    config: BenchConfig, subject: Subject, engine: str, batch_size: int, img_size: int | None
) -> Iterator[Case]:
    forms = dict.fromkeys(config.forms)
    if subject.peer is not None:
        forms = dict.fromkeys(("unfused",) if config.train else ("branches",))
    elif subject.path is not None and subject.info is not None:
        forms = dict.fromkeys((subject.info.form,))
    for fuse in forms:
        if engine == "coreml":
            for units in COMPUTE_UNITS:
                yield Case(subject, engine, fuse, _COREML_DTYPE, batch_size, img_size, units)
            continue
        for dtype in _dtypes(config, engine):
            yield Case(subject, engine, fuse, dtype, batch_size, img_size)


def _dtypes(config: BenchConfig, engine: str) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(config.dtype))
    # ONNX Runtime has one: it is not asked for the others in vain where another engine has them.
    return ("float32",) if engine == "onnxruntime" and "float32" in wanted else wanted


def check_engines(config: BenchConfig, subjects: Sequence[Subject], system: str) -> None:
    """Refuse Core ML away from a Mac before anything is timed.

    Args:
        system: `sys.platform`.

    Raises:
        FastViTError: Core ML was asked for, or a package was named, on another system.
    """
    files = [subject for subject in subjects if subject.path is not None]
    package = next((subject.name for subject in files if "coreml" in _engines(config, subject)), None)
    if system == "darwin" or ("coreml" not in config.engine and package is None):
        return
    what = "The coreml engine" if package is None else f"'{package}'"
    raise FastViTError(
        f"{what} can be timed on a Mac alone: Core ML runs nowhere else.",
        "Run this on macOS; here, time --engine torch or --engine onnxruntime.",
    )
