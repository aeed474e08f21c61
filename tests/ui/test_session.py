import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.program import run
from PIL import Image
from rich.console import Group
from rich.text import Text

from fastvit_cli.training.events import EpochDone
from fastvit_cli.ui.console import Terminal
from fastvit_cli.ui.plots import plot_curves
from fastvit_cli.ui.session import Session, write_json_file
from fastvit_cli.ui.tables import duration, size


@dataclass(frozen=True)
class Result:
    path: Path
    values: tuple[float, ...]


def test_the_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("validate", json=True)
    session.device = "mps"
    session.note("for people")
    session.finish(Result(Path("a/b"), (1.5, float("nan"), float("inf"))), "the view")
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert list(document) == ["schema", "command", "environment", "result"]
    assert document["result"] == {"path": "a/b", "values": [1.5, None, None]}
    assert document["environment"]["torch"]
    assert document["environment"]["device"] == "mps"
    assert captured.err == "for people\n"


def test_files_are_written_though_the_reader_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> int:
        raise BrokenPipeError

    session, written = Session("validate", json=True), list[object]()
    monkeypatch.setattr("sys.stdout.write", broken)
    with pytest.raises(BrokenPipeError):
        session.finish(Result(Path("x"), ()), "the view", written.append)
    assert len(written) == 1


def test_a_reader_that_is_gone_is_an_error_and_not_the_end() -> None:
    """rich would end the program; a run in training saves first."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        terminal = Terminal(file=pipe)
        with pytest.raises(BrokenPipeError):
            terminal.print("for nobody")
        terminal.print("nor this")


def test_quiet_shows_the_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session("validate", quiet=True)
    session.note("for people")
    with session.bar("Working") as bar:
        bar.update(1, 2)
    session.finish(Result(Path("x"), ()), "the view")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("the view\n", "")


def test_brackets_in_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "train", "--data", "[red]/photos[/]")
    assert "[red]/photos[/]" in outcome.err


def test_json_files_appear_whole(tmp_path: Path) -> None:
    write_json_file(tmp_path / "new" / "results.json", {"result": Result(Path("x"), (1.0,))})
    assert json.loads((tmp_path / "new" / "results.json").read_text())["result"]["values"] == [1.0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert size(15_600_000) == "15.6 MB"


def test_curves_are_a_picture_from_the_first_epoch_on(tmp_path: Path) -> None:
    row = EpochDone(1, 3, 1e-3, 2.0, 20.0, 1.9, 25.0, 70.0, 100.0, 9.0, 0.1, 800.0, 0, True)
    plot_curves([row], tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 20, "not an empty canvas"


def test_long_lines_of_code_are_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    code = Text("let model = try VNCoreMLModel(for: best(configuration: MLModelConfiguration()).model)")
    code.no_wrap, code.overflow = True, "ignore"  # as the view of an export has it
    Session("export").finish(Result(Path("x"), ()), Group(code))
    assert capsys.readouterr().out.splitlines() == [code.plain]
