"""SIGHUP: a terminal that closes ends a run as SIGTERM does, unless it is to be outlived."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.program import run

from fastvit_cli.training.resolve_options import config_to_yaml, resolve_config
from fastvit_cli.training.state_file import read_state
from fastvit_cli.training.stopping import Stop, Stopped, stop_requests

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")


def test_a_hang_up_ends_the_run_as_sigterm_does() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with stop_requests(None) as requests:
        requests.check()
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Stopped) as stopped:
            requests.check()
    assert stopped.value.reason == Stop.TERMINATED
    assert signal.getsignal(signal.SIGHUP) is before


def test_under_nohup_it_is_still_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests(None) as requests:
            os.kill(os.getpid(), signal.SIGHUP)
            requests.check()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_terminal_that_closes_costs_nothing(
    form: list[str], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The processes that read images get its SIGHUP too, and nothing can be printed any more."""
    import pty

    values = {"img_size": 32, "batch_size": 8, "epochs": 500, "workers": 1, "data": str(tiny_data)}
    (tmp_path / "options.yaml").write_text(config_to_yaml(resolve_config(values, "demo")))
    words = [sys.executable, "-m", "fastvit_cli", "train", "--config", str(tmp_path / "options.yaml"), *form]
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [*words, "--output", str(tmp_path / "run")])
    shown = bytearray()

    def read_it() -> None:  # until it is closed: or the program would wait for it
        try:
            while part := os.read(terminal, 65536):
                shown.extend(part)
        except OSError:
            pass

    reader = threading.Thread(target=read_it, daemon=True)
    reader.start()
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "state.pt").exists():
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 143
    assert "terminated in epoch" in (tmp_path / "run" / "log.txt").read_text()
    done = read_state(tmp_path / "run" / "state.pt", "")["epoch"]
    resumed = run(capsys, "train", "--resume", tmp_path / "run", "--epochs", done + 1, "--workers", 0, "--json")
    assert resumed.result["epochs"] == done + 1
