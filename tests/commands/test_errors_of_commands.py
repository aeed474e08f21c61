"""What a person sees who typed something wrong: two lines, exit 2, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.loaded import saved_model
from helpers.program import run
from helpers.tiny_data import draw_tiny_data


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTVIT_DATA", raising=False)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["train", "--variant", "sa42"], "no FastViT variant 'sa42'", "Did you mean 'sa24'?"),
        (["train", "--data", "nowhere"], "no data folder 'nowhere'", "--data"),
        (["train", "--epochs", "0"], "--epochs is 0", "1 or more"),
        (["train", "--epochs", "many"], "--epochs takes a whole number, not 'many'.", "fastvit train --help"),
        (["train", "--lr", "1,5"], "--lr takes a number, not '1,5'.", "fastvit train --help"),
        (["train", "--batch-size", "8.5"], "takes a whole number or auto, not '8.5'.", "fastvit train --help"),
        (["train", "--seed", "-1"], "--seed is -1", "Pass 0 to 2147483647."),
        (["train", "--epohcs", "3"], "--epohcs", "fastvit train --help"),
        (["train", "--img-size", "16"], "--img-size is 16", "32 to 8192"),
        (["train", "--lr", "nan"], "--lr is nan", "0 or more"),
        (["train", "--min-lr", "1"], "--min-lr 1 is above", "--min-lr"),
        (["train", "--mixup", "0.2", "--batch-size", "9"], "--batch-size 9 is odd", "--batch-size 10"),
        (["train", "--config", "none.yaml"], "none.yaml", "--config"),
        (["train", "--resume"], "no run to resume", "--resume"),
        (["train", "--resume", "x", "--lr", "1"], "no run to resume at 'x'", "--resume"),
        (["train", "--recipe", "imagnet"], "imagnet", "imagenet"),
        (["train", "--total-batch-size", "40"], "is no multiple of --batch-size", "--total-batch-size"),
        (["train", "--bce-threshold", "0.2"], "--bce-threshold is about --bce", "--bce"),
        (["train", "--cooldown-epochs", "3"], "--cooldown-epochs 3 leaves none", "--epochs"),
        (["train", "--ckpt", "none.pth"], "no file 'none.pth'", "--ckpt"),
        (["validate"], "No model is named", "--pretrained"),
        (["validate", "--ckpt"], "no run under 'runs/'", "fastvit train"),
        (["validate", "--variant", "t8"], "no trained weights", "--pretrained"),
        (["validate", "--pretrained"], "--pretrained needs --variant", "--variant"),
        (["validate", "--variant", "t8", "--pretrained", "x"], "tagged 'x'", "apple_in1k"),
        (["reparam"], "No model is named", "--ckpt"),
        (["export"], "No model is named", "--pretrained"),
        (["export", "--format", "tflite"], "--format does not take 'tflite'", "coreml"),
        (["export", "--variant", "t8", "--device", "cuda:9"], "no device 'cuda:9'", "cpu"),
        (["reparam", "--device", "tpu"], "no device 'tpu'", "cpu"),
        (["validate", "--real-labels", "a.json", "--valid-labels", "b.txt"], "leaves some out", "one at a time"),
        (["bench", "--device", "cuda:9"], "no device 'cuda:9'", "cpu"),
        (["bench", "--variant", "t9"], "no FastViT variant 't9'", "t8"),
        (["bench", "--iterations", "0"], "--iterations is 0", "1 or more"),
        (["bench", "--batch-size", "1,x"], "--batch-size does not take '1,x'", "whole number"),
        (["bench", "--compare", "old.json"], "Cannot read 'old.json'", "--output"),
        (["validate", "--ckpt", ""], "--ckpt is empty", "leave it out"),
        (["predict", "", "--ckpt", "x"], "IMAGE is empty", "leave it out"),
        (["train", "--resume", ""], "--resume is empty", "leave it out"),
        (["train", "--config", " "], "--config is empty", "leave it out"),
        (["bench", "--ckpt", ""], "--ckpt is empty", "leave it out"),
        (["validate", "--ckpt", "~nosuch/x"], "there is no user 'nosuch' here", "Write the folder out"),
        (["predict", "~nosuch/x"], "there is no user 'nosuch' here", "Write the folder out"),
        (["export", "--variant", "t8", "--output", f"{'n' * 300}.onnx"], "a name of 305 letters", "shorter"),
        (["export", "--variant", "t8", "--output", f"{'n' * 248}.onnx"], "File name too long", "another --output"),
        (["validate", "--ckpt", "n" * 300], "a name of 300 letters", "shorter"),
        (["predict", "n" * 300], "a name of 300 letters", "shorter"),
        (["validate", "--img-size", "99999999"], "--img-size is 99999999", "32 to 8192"),
        (["export", "--variant", "t8", "--img-size", "99999999"], "--img-size is 99999999", "32 to 8192"),
        (["bench", "--img-size", "64,99999999"], "--img-size is 99999999", "32 to 8192"),
        (["trian"], "No such command 'trian'", "fastvit --help"),
    ],
)
def test_two_lines_and_exit_2(
    words: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outcome = run(capsys, *words)
    assert outcome.code == 2
    assert outcome.out == ""
    first, second = outcome.err.splitlines()[-2:]
    assert first.startswith("Error: ")
    assert message in first
    assert second.startswith("Hint:  ")
    assert hint in second
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_json_errors_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["validate", "--json"], ["validate", "--nonsense", "--json"]):
        outcome = run(capsys, *words)
        assert outcome.code == 2
        assert outcome.document["schema"] == 1
        assert outcome.document["command"] == "validate"
        assert outcome.error["message"]
        assert outcome.error["hint"]


def test_an_interrupted_command_is_one_document_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastvit_cli.devices.resolve_device", interrupt)
    outcome = run(capsys, "validate", "--json")
    assert (outcome.code, outcome.error["message"]) == (130, "Interrupted.")
    outcome = run(capsys, "validate")
    assert (outcome.code, outcome.out) == (130, "")


def test_verbose_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "validate", "--verbose")
    assert outcome.code == 2
    assert "Traceback" in outcome.err
    assert "Error: No model is named" in outcome.err


def test_a_bug_of_ours_is_two_lines_and_exit_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastvit_cli.devices.resolve_device", lambda _: 1 / 0)
    outcome = run(capsys, "bench")
    assert outcome.code == 1
    assert "ZeroDivisionError" in outcome.err
    assert "Traceback" not in outcome.err


def test_empty_class_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=2, val=1)
    (data / "train" / "walrus").mkdir()
    outcome = run(capsys, "train", "--data", data)
    assert outcome.code == 2
    assert "walrus' holds no images" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_train_and_val_with_other_classes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=2, val=1)
    (data / "val" / "star").rename(data / "val" / "sun")
    outcome = run(capsys, "train", "--data", data)
    assert outcome.code == 2
    assert "star" in outcome.err
    assert "sun" in outcome.err


def test_unreadable_image_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = draw_tiny_data(tmp_path / "data", train=4, val=1)
    bad = data / "train" / "star" / "00.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    outcome = run(capsys, "train", "--data", data, "--img-size", 32, "--batch-size", 4, "--workers", 1)
    assert outcome.code == 2
    assert str(bad) in outcome.err.replace("\n", "")
    assert "Traceback" not in outcome.err


def test_too_few_images_for_a_batch(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_data: Path) -> None:
    outcome = run(capsys, "train", "--data", tiny_data, "--batch-size", 64)
    assert outcome.code == 2
    assert "24 training images" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_wrong_checkpoint_counts_the_keys(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved_model(tmp_path / "whole.safetensors")
    tensors = load_file(tmp_path / "whole.safetensors")
    for name in [name for name in tensors if name.endswith("bn.weight")][:40]:
        del tensors[name]
    tensors["stem.0.conv_kxk.0.conv.weight"] = torch.zeros(48, 3, 3, 3)
    save_file(tensors, tmp_path / "broken.safetensors")
    outcome = run(capsys, "validate", "--ckpt", "broken.safetensors")
    assert outcome.code == 2
    first = outcome.err.splitlines()[-2]
    assert "keys differ" in first
    assert first.count(" is missing") == 3, "the first three, never a wall of keys"


def test_a_file_of_another_variant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved_model(tmp_path / "t8.safetensors")
    for command in ("validate", "reparam", "export", "train"):
        outcome = run(capsys, command, "--ckpt", "t8.safetensors", "--variant", "sa12")
        assert outcome.code == 2
        assert "is a fastvit_t8, not a fastvit_sa12" in " ".join(outcome.err.split())


def test_data_of_other_classes_names_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_data: Path
) -> None:
    saved_model(tmp_path / "five.safetensors")
    outcome = run(capsys, "validate", "--ckpt", "five.safetensors", "--data", tiny_data)
    assert outcome.code == 2
    assert "circle, cross, star" in " ".join(outcome.err.split())


def test_an_output_that_holds_a_run_is_left_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_data: Path
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text("epochs: 3\n")
    outcome = run(capsys, "train", "--data", tiny_data, "--batch-size", 8, "--output", run_dir)
    assert outcome.code == 2
    assert "holds a run already" in outcome.err
    assert (run_dir / "config.yaml").read_text() == "epochs: 3\n"


def test_an_output_that_holds_weights_is_left_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_data: Path
) -> None:
    (tmp_path / "best.safetensors").write_text("someone's")
    (tmp_path / "metrics.csv").touch()
    outcome = run(capsys, "train", "--data", tiny_data, "--batch-size", 8, "--output", tmp_path)
    assert outcome.code == 2
    assert "holds best.safetensors and metrics.csv already" in outcome.err
    assert (tmp_path / "best.safetensors").read_text() == "someone's"
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: three\n", "sets 'epochs' to 'three'"),
        ("epohcs: 3\n", "'epohcs', which is no option"),
        ("- 1\n", "no `name: value` lines"),
        ("a: [1\n", "is no YAML file"),
        ("amp: 1\n", "sets 'amp' to 1"),
        ("trust: true\n", "sets 'trust', which no file may"),
        ('class_map: ""\n', "--class-map is empty"),
        ('teacher: "a\\0b"\n', "which no file can be called"),
    ],
)
def test_wrong_config_files(text: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    outcome = run(capsys, "train", "--config", "c.yaml")
    assert outcome.code == 2
    assert message in outcome.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
@pytest.mark.parametrize("words", [("export", "--list", "--json"), ("export", "--list"), ("--help",)])
def test_a_full_disk_behind_stdout(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fastvit_cli", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    first, second = done.stderr.splitlines()
    assert done.returncode == 1
    assert first.startswith("Error: Writing")
    assert "(No space left on device)" in first
    assert second.startswith("Hint:  Free some space")


def test_no_room_for_temporary_files(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    outcome = run(capsys, "bench", "--variant", "t8", "--img-size", "32")
    assert outcome.code == 1
    assert "Error: Writing '/tmp/x' failed (No space left on device)." in outcome.err
    assert "TMPDIR" in outcome.err


def test_no_memory_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")

    monkeypatch.setattr("fastvit_cli.devices.resolve_device", no_memory)
    outcome = run(capsys, "bench")
    assert outcome.code == 1
    assert "Error: There is no memory left" in outcome.err
