"""A quick part of the mutation script, and that the script sees what it is there to see."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.bases import CHECKPOINT, LIBRARY, Base
from fuzz.cases import COUNTS, Case, plan
from fuzz.harness import run_cases
from fuzz.judge import Job, Result
from fuzz.mutations import NO_SEAL, OWN
from fuzz.targets import Contents

from fastvit_cli.errors import FastViTError

SCRIPT = Path(__file__).with_name("run.py")
WHOLE = {LIBRARY: {"weights": "as they were"}}


def test_two_hundred_changed_files() -> None:
    """Nothing runs code, nothing is taken changed, nothing goes wrong inside; the first failures are shown."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "200", "--json", "--processes", "1"], capture_output=True, check=False
    )
    assert ended.stdout, ended.stderr.decode()
    document = json.loads(ended.stdout)
    total = document["total"]
    assert document["failures"] == [], json.dumps(document["failures"][:5], indent=1)
    assert (ended.returncode, total["cases"]) == (0, 200)
    assert total["refused"] > 100
    assert total["identical"] > 5  # a program that refuses everything would pass else


def test_the_plan_has_what_it_promises_and_is_the_same_again() -> None:
    cases = plan(0)
    assert Counter(case.kind for case in cases) == COUNTS
    assert cases == plan(0)
    assert [case.number for case in cases] == list(range(len(cases)))
    assert cases != plan(1)


# --- the harness itself, with other programs than fastvit ------------------------------------------

Look = Callable[[Base, Path, Path, str], Contents]


def _result(
    folder: Path, look: Look, seal: str = OWN, mutation: str = "a bit flipped, anywhere", **limits: float
) -> Result:
    """What is said of one case whose file is opened by `look`."""
    base = Base(CHECKPOINT, "ours", folder / "base.bin", seal, WHOLE)
    base.path.write_bytes(bytes(range(256)) * 40)
    job = Job(folder / "work", 0, {(CHECKPOINT, "ours"): base}, look=look, **limits)
    job.work.mkdir(exist_ok=True)
    (result,) = run_cases([Case(5, CHECKPOINT, "ours", mutation, LIBRARY)], job, 1)
    return result


def _refuses(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    raise FastViTError("It is damaged.", "Copy it again.")


def _refuses_without_a_hint(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    raise FastViTError("It is damaged.")


def _refuses_for_want_of_memory(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    try:
        bytearray(2**45)
    except MemoryError as error:
        raise FastViTError("It is damaged.", "Copy it again.") from error
    raise AssertionError


def _takes(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    return WHOLE[LIBRARY]


def _takes_changed(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    return {"weights": "others"}


def _fails(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    raise KeyError("head")


def _crashes(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _hangs(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    time.sleep(600)
    raise AssertionError


def _swells(_base: Base, _path: Path, _data: Path, _way: str) -> Contents:
    _ = b"x" * 300_000_000
    return WHOLE[LIBRARY]


def _runs_code(_base: Base, path: Path, _data: Path, _way: str) -> Contents:
    (path.parent / "canary").touch()
    raise FastViTError("It is damaged.", "Copy it again.")


@pytest.mark.parametrize(
    ("look", "verdict", "detail"),
    [
        (_refuses, "refused", "It is damaged"),
        (_takes, "identical", ""),
        (_takes_changed, "changed", "weights: as they were -> others"),
        (_fails, "error", "KeyError"),
        (_refuses_without_a_hint, "error", "without a message or a hint"),
        (_refuses_for_want_of_memory, "error", "memory was lacking"),
        (_crashes, "error", "signal 9"),
        (_swells, "error", "it took 2"),
        (_runs_code, "code", "the canary is there"),
    ],
)
def test_what_a_program_does_is_seen(tmp_path: Path, look: Look, verdict: str, detail: str) -> None:
    result = _result(tmp_path, look, memory_limit_mb=100.0)
    assert result.verdict == verdict
    assert detail in result.detail


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    result = _result(tmp_path, _hangs, time_limit_s=1.0)
    assert (result.verdict, result.detail[:9]) == ("error", "no answer")


def test_a_file_without_a_checksum_is_counted_apart(tmp_path: Path) -> None:
    assert _result(tmp_path, _takes_changed, seal=NO_SEAL).verdict == "unsealed"


def test_a_case_is_the_same_file_again(tmp_path: Path) -> None:
    def digest(_base: Base, path: Path, _data: Path, _way: str) -> Contents:
        return {"weights": hashlib.sha256(path.read_bytes()).hexdigest()}

    first, second = (_result(tmp_path, digest).detail for _ in range(2))
    assert first == second
    assert hashlib.sha256(bytes(range(256)) * 40).hexdigest()[:50] not in first
