"""One case: its file is made, opened and judged."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fuzz import targets
from fuzz.bases import COMMAND, PICKLE, PROCESS, Base, copied, look
from fuzz.cases import Case, mutations_of
from fuzz.mutations import NO_SEAL
from fuzz.poison import POISONS

from fastvit_cli.errors import FastViTError

REFUSED, IDENTICAL, CHANGED, UNSEALED, ERROR, CODE = "refused", "identical", "changed", "unsealed", "error", "code"
VERDICTS = (REFUSED, IDENTICAL, CHANGED, UNSEALED, ERROR, CODE)
FAILURES = (CHANGED, ERROR, CODE)

TIME_LIMIT_S = 30.0
MEMORY_LIMIT_MB = 1500.0  # more than that for files of at most 80 MB is taken for a bomb


@dataclass(frozen=True)
class Result:
    """What became of one case.

    Attributes:
        verdict: one of `VERDICTS`.
        detail: the refusal, what has changed, or what went wrong.
        memory_mb: growth of the worker at its largest.
    """

    case: Case
    verdict: str
    detail: str
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Job:
    """What all cases share.

    Attributes:
        keep: leave the files of the cases where they are.
        look: opens a changed file; tests of this harness put another in its place.
    """

    work: Path
    seed: int
    bases: dict[tuple[str, str], Base]
    keep: bool = False
    look: Callable[[Base, Path, Path, str], targets.Contents] = look
    time_limit_s: float = TIME_LIMIT_S
    memory_limit_mb: float = MEMORY_LIMIT_MB


# --- one case -------------------------------------------------------------------------------------


def run_case(case: Case, job: Job) -> Result:
    """Make the case's file, open it, and judge."""
    folder = job.work / f"case-{case.number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    canary = folder / "canary"
    rng = random.Random(f"{job.seed}/{case.number}")
    try:
        opened = _prepared_code(case, job, folder, rng) if case.kind == PICKLE else _prepared(case, job, folder, rng)
        before, started = _memory_mb(start=True), time.perf_counter()
        verdict, detail = _judged(opened)
        seconds, memory = time.perf_counter() - started, _memory_mb() - before
        if case.kind == PICKLE:
            time.sleep(0.05)  # for what was started and goes on by itself
        if canary.exists():
            verdict, detail = CODE, f"the canary is there; {verdict}: {detail}"
        elif memory > job.memory_limit_mb and verdict != ERROR:
            verdict, detail = ERROR, f"it took {memory:,.0f} MB; {verdict}: {detail}"
        return Result(case, verdict, detail, seconds, max(0.0, memory))
    finally:
        os.chdir(job.work)
        if not job.keep:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Opened:
    """How to open a case's file, and what it holds when nothing has changed."""

    open: Callable[[], targets.Contents]
    whole: targets.Contents = field(default_factory=dict)
    sealed: bool = True


def _prepared(case: Case, job: Job, folder: Path, rng: random.Random) -> _Opened:
    base = job.bases[case.kind, case.base]
    mutation = next(m for m in mutations_of(case.kind, case.base) if m.name == case.mutation)
    path = copied(base, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice in a zip is what was wanted
        mutation.apply(path, rng)
    whole = base.whole[COMMAND if case.way == PROCESS else case.way]
    sealed = base.seal != NO_SEAL and base.seal not in mutation.defeats
    return _Opened(lambda: job.look(base, path, job.work / "data", case.way), whole, sealed)


def _prepared_code(case: Case, job: Job, folder: Path, rng: random.Random) -> _Opened:
    make, opening = POISONS[case.mutation]
    path = make(folder, folder / "canary", job.bases, rng)
    (folder / "canary").unlink(missing_ok=True)

    def opened() -> targets.Contents:
        opening(path, job.work / "data")
        return {}

    return _Opened(opened)


def _judged(opened: _Opened) -> tuple[str, str]:
    try:
        found = opened.open()
    except FastViTError as error:
        if targets.out_of_memory(error):
            return ERROR, f"memory was lacking behind the refusal: {error}"
        try:
            targets.check_refusal(error.message, error.hint)
        except targets.InternalError as broken:
            return ERROR, str(broken)
        return REFUSED, str(error)
    except targets.InternalError as error:
        return ERROR, str(error)
    except BaseException as error:
        return ERROR, f"{type(error).__name__}: {str(error)[:500]}"
    names = [name for name in {**opened.whole, **found} if opened.whole.get(name) != found.get(name)]
    if not names:
        return IDENTICAL, ""
    shown = [f"{name}: {_short(opened.whole.get(name))} -> {_short(found.get(name))}" for name in sorted(names)[:3]]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (CHANGED if opened.sealed else UNSEALED), "; ".join(shown) + more


def _short(text: str | None) -> str:
    return "none" if text is None else text if len(text) <= 60 else f"{text[:57]}..."


def _memory_mb(*, start: bool = False) -> float:
    """The largest resident size so far; at a `start` it is counted anew, where the system can do that."""
    if start:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes there
