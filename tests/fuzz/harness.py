"""Runs cases in workers with limits; what crashes or hangs a worker is told of the case that did it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fuzz.bases import PROCESS
from fuzz.cases import Case
from fuzz.judge import CODE, ERROR, Job, Result, run_case

_PROCESS_TIME_LIMIT_S = 220.0
_ADDRESS_SPACE = 3 * 2**30  # bytes beyond what the worker has at its start
_OPEN_FILES = 512  # a hundred loader processes at most, for a machine must survive what is tried on it
_CASES_A_WORKER = 300


class _Worker:
    """A forked process that runs one case after the other."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, job), daemon=False)
        self.process.start()
        theirs.close()
        self.case: Case | None = None
        self.since = 0.0
        self.done = 0

    def give(self, case: Case) -> None:
        self.case, self.since = case, time.monotonic()
        self.pipe.send(case)

    def late(self, job: Job) -> bool:
        limit = _PROCESS_TIME_LIMIT_S if self.case is not None and self.case.way == PROCESS else job.time_limit_s
        return self.case is not None and time.monotonic() - self.since > limit

    def end(self) -> int | None:
        """End it and all that it has started; its exit code."""
        if self.process.pid is not None:
            self.process.join(0.2) if self.case is not None else None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # its own group, see `_serve`
        self.process.join()
        self.pipe.close()
        return self.process.exitcode


def _serve(pipe: Connection, job: Job) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _limit()
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            os._exit(0)
        try:
            result = run_case(case, job)
        except BaseException as error:  # of the harness: a mutation that cannot be made
            result = Result(case, ERROR, f"THE CASE COULD NOT BE MADE: {type(error).__name__}: {error}", 0.0, 0.0)
        pipe.send((result, _has_children()))


def _limit() -> None:
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + _ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _has_children() -> bool:
    with contextlib.suppress(OSError):
        return any(path.read_text().strip() for path in Path("/proc/self/task").glob("*/children"))
    return True


def run_cases(cases: list[Case], job: Job, processes: int) -> Iterator[Result]:
    """Results as they come. A case that crashes or hangs its worker costs that worker, not the run."""
    left = list(reversed(cases))
    workers: list[_Worker] = []
    try:
        while left or any(worker.case is not None for worker in workers):
            while left and len(workers) < processes:
                workers.append(_Worker(job))
            for worker in workers:
                if worker.case is None and left:
                    worker.give(left.pop())
            busy: list[Any] = [worker.pipe for worker in workers if worker.case is not None]
            ready = wait(busy, timeout=0.5)
            for worker in list(workers):
                result, keep = _collect(worker, job, worker.pipe in ready)
                if result is not None:
                    yield result
                if not keep:
                    worker.end()
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.case = None
            worker.end()


def _collect(worker: _Worker, job: Job, ready: bool) -> tuple[Result | None, bool]:
    """The result of a worker, if it has one, and whether the worker may go on."""
    case = worker.case
    if case is None:
        return None, True
    seconds = time.monotonic() - worker.since
    if ready:
        try:
            result, children = worker.pipe.recv()
        except (EOFError, OSError):
            code = worker.end()
            detail = f"it ended the process, exit code {code}" if code is None or code >= 0 else f"signal {-code}"
            return Result(case, _after_the_end(case, job), f"crash: {detail}", seconds, 0.0), False
        worker.case, worker.done = None, worker.done + 1
        return result, worker.done < _CASES_A_WORKER and not children
    if worker.late(job):
        worker.end()
        return Result(case, _after_the_end(case, job), f"no answer within {seconds:.0f} s", seconds, 0.0), False
    return None, True


def _after_the_end(case: Case, job: Job) -> str:
    folder = job.work / f"case-{case.number}"
    verdict = CODE if (folder / "canary").exists() else ERROR
    if not job.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


def in_child(work: Callable[[], Any]) -> Any:
    """The value of `work`, done in a forked process, so that no thread of any library is in this one.

    Raises:
        RuntimeError: it failed; with its traceback.
    """
    context = multiprocessing.get_context("fork")
    pipe, theirs = context.Pipe()

    def child() -> None:
        try:
            theirs.send((work(), None))
        except BaseException:
            theirs.send((None, traceback.format_exc()))

    process = context.Process(target=child)
    process.start()
    theirs.close()
    try:
        value, error = pipe.recv()
    except EOFError:
        value, error = None, "it ended without an answer"
    process.join()
    if error is not None:
        raise RuntimeError(error)
    return value
