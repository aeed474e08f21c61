"""What the README tells its reader to type, typed in its order; trainings and timings shortened."""

import re
import shlex
from pathlib import Path

import pytest
from helpers.loaded import saved_model
from helpers.program import run
from helpers.tiny_data import draw_tiny_data

from fastvit_cli.checkpoints.hub import HubModel
from fastvit_cli.checkpoints.load import LoadedModel, from_tensors
from fastvit_cli.models.factory import create_model

README = (Path(__file__).parent.parent / "README.md").read_text()
_SHORTER = {
    "train": ["--epochs", "1", "--img-size", "32", "--batch-size", "8", "--workers", "0"],
    "bench": ["--iterations", "2", "--min-seconds", "0"],
    "validate": ["--workers", "0"],
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _commands(blocks: list[str]) -> list[str]:
    return [line for block in blocks for line in block.strip().splitlines()]


_OWN_CLASSES = README.index("## From published weights to your own classes")
(OWN_CLASSES,) = [block for block in _blocks("bash") if README.index(block) > _OWN_CLASSES]
COMMANDS = _commands([block for block in _blocks("bash") if block != OWN_CLASSES])


def test_the_readme_shows_how_to_install_and_test() -> None:
    assert COMMANDS[:2] == ["pip install .", "fastvit train"]
    assert COMMANDS[2] == 'pip install ".[dev]"'
    assert COMMANDS[3].startswith("pytest"), "what .ci/run reads from here"


def test_the_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTVIT_DATA", str(draw_tiny_data(tmp_path / "photos")))
    ours = [words[1:] for words in map(shlex.split, COMMANDS) if words[0] == "fastvit"]
    assert {words[0] for words in ours} == {"train", "validate", "reparam", "export", "bench"}
    for words in ours:
        outcome = run(capsys, *words, *_SHORTER.get(words[0], []))
        assert outcome.code == 0, (words, outcome.err)
    run_dirs = sorted((tmp_path / "runs" / "train").iterdir())
    assert len(run_dirs) == 2
    made = {path.name for path in run_dirs[-1].iterdir()}
    assert {"best.safetensors", "best_fused.safetensors", "best.mlpackage", "best.onnx"} <= made


def test_from_published_weights_to_own_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint of ImageNet's classes takes the place of the download."""
    monkeypatch.chdir(tmp_path)
    draw_tiny_data(tmp_path / "photos")
    published = from_tensors(create_model("t8").state_dict(), "the published weights")
    asked: list[str] = []

    def load_hub(model: HubModel) -> LoadedModel:
        asked.append(model.timm_name)
        return published

    monkeypatch.setattr("fastvit_cli.checkpoints.select.load_hub", load_hub)
    commands = _commands([OWN_CLASSES])
    assert len(commands) == 5
    said = []
    for words in (shlex.split(command)[1:] for command in commands):
        outcome = run(capsys, *words, *_SHORTER.get(words[0], []))
        assert outcome.code == 0, (words, outcome.err)
        said.append(outcome.out + outcome.err)
    assert asked == ["fastvit_t8.apple_dist_in1k"]
    assert "Every image can be read" in said[0]
    assert "Recipe: finetune" in said[1]
    assert "a new head for 3 classes replaces its 1000" in said[1]
    (run_dir,) = (tmp_path / "runs" / "train").iterdir()
    assert {"best_fused.safetensors", "best.mlpackage"} <= {path.name for path in run_dir.iterdir()}


def test_the_library_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved_model(tmp_path / "sa12.safetensors", "sa12")  # the reader's own file
    names: dict[str, object] = {}
    for block in _blocks("python"):
        exec(block, names)  # the README is ours
    assert getattr(names["logits"], "shape", None) == (1, 10)


def test_every_variant_stands_in_the_table() -> None:
    from fastvit_cli.models.variants import VARIANTS

    for variant in VARIANTS.values():
        if variant.top1 is None:
            assert variant.name in README
            continue
        row = next(line for line in README.splitlines() if line.startswith(f"| `{variant.name}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert cells == [
            f"{variant.params / 1e6:.2f} M",
            f"{variant.params_fused / 1e6:.2f} M",
            f"{variant.top1} %",
            f"{variant.top1_distilled} %",
            f"{variant.latency_ms} ms",
        ]
