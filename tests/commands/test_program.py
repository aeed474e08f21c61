"""The program itself: start-up, its three names, interruption by a real signal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fastvit_cli import app as program
from fastvit_cli.app import main
from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.commands.bare_options import insert_bare_values
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.version import __version__

HEAVY = ("torch", "torchvision", "timm", "coremltools", "onnx", "onnxruntime", "numpy", "matplotlib", "PIL")


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["bench", "--help"], ["--version"], ["train", "--lr", "x"]]
)
def test_start_up_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from fastvit_cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("LOADED []"), done.stdout[-300:] + done.stderr


def test_the_bare_program_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr()
    assert main(["--help"]) == 0
    assert bare == capsys.readouterr()
    assert "  train " in bare.out


def test_validating_does_not_load_the_compiler(tiny_data: Path, tmp_path: Path) -> None:
    """torch.compile's machinery and sympy take longer to import than a small validation takes."""
    weights = tmp_path / "t8.safetensors"
    save_checkpoint(weights, create_model("t8", num_classes=3), ModelInfo("t8", "unfused", 3, Preprocessing()))
    code = (
        "import sys; from fastvit_cli.app import main; main(sys.argv[1:])\n"
        "print('LOADED', [name for name in ('torch._dynamo', 'sympy', 'torchvision', 'timm') if name in sys.modules])"
    )
    words = ["validate", "--ckpt", weights, "--data", tiny_data, "--workers", "0", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert '"top1"' in done.stdout, done.stderr
    loaded = done.stdout.rpartition("LOADED ")[2].strip()
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 15):
        assert loaded == "[]"
    else:  # older ones load their compiler for any counting of operations (seen in 2.8 and 2.11)
        assert "torchvision" not in loaded
        assert "timm" not in loaded


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, fastvit_cli; print('torch' in sys.modules, callable(fastvit_cli.create_model))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_the_installed_script_and_the_module_are_one_program() -> None:
    script = Path(sys.executable).parent / "fastvit"
    for command in ([str(script)], [sys.executable, "-m", "fastvit_cli"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, f"fastvit {__version__}\n")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["validate", "--ckpt"], ["validate", "--ckpt", "latest"]),
        (["validate", "--ckpt", "--json"], ["validate", "--ckpt", "latest", "--json"]),
        (["validate", "--ckpt", "x.pth"], ["validate", "--ckpt", "x.pth"]),
        (["train", "--resume", "--pretrained"], ["train", "--resume", "latest", "--pretrained", "apple_dist_in1k"]),
        (["train", "--lr", "1"], ["train", "--lr", "1"]),
    ],
)
def test_bare_options_get_their_value(typed: list[str], meant: list[str]) -> None:
    assert insert_bare_values(typed) == meant


def test_every_command_has_an_example_and_explains_every_option() -> None:
    from fastvit_cli.app import app

    for info in app.registered_commands:
        assert info.callback is not None
        assert "Example: " in (info.callback.__doc__ or ""), info.name
        import inspect

        for parameter in inspect.signature(info.callback).parameters.values():
            (option,) = parameter.annotation.__metadata__
            assert len(option.help or "") > 10, (info.name, parameter.name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_cleanly_with_the_weights_written(tmp_path: Path, tiny_data: Path) -> None:
    words = [
        "train",
        "--data",
        tiny_data,
        "--img-size",
        32,
        "--batch-size",
        8,
        "--workers",
        1,
        "--epochs",
        500,
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "fastvit_cli", *map(str, words), "--output", str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "state.pt").exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    result = json.loads(out)["result"]
    assert result["stopped"] == "interrupted"
    assert result["epochs"] >= 1
    from fastvit_cli import load_model

    assert load_model(tmp_path / "run" / "last.safetensors").num_classes == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for one process")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("library", [None, "swallows", "renames"])
def test_a_signal_leaves_nothing_half_written(
    library: str | None, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_number = getattr(signal, number)

    def export(*_: object, **__: object) -> None:
        with replaced_when_done(tmp_path / "best.onnx"):
            try:
                os.kill(os.getpid(), signal_number)
                time.sleep(60)
            except BaseException as error:
                if library is None:
                    raise
                if library == "renames":
                    raise RuntimeError("while tracing") from error
        (tmp_path / "best.onnx").unlink()

    monkeypatch.setattr(program, "app", export)
    before = signal.getsignal(signal_number)
    with pytest.raises(SystemExit) as ended:
        main(["export"])
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal_number) is before


@pytest.mark.parametrize(("command", "shares"), [("validate", True), ("bench", False)])
def test_bench_alone_leaves_openmp_as_every_other_program_finds_it(
    command: str, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # restored in the end
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert main([command, "--no-such-option"]) == 2
    assert ("GOMP_SPINCOUNT" in os.environ) is shares
