"""Measured accuracies find their model, and nothing else is taken for one."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastvit_cli.bench.scores import with_scores
from fastvit_cli.bench.subjects import Subject
from fastvit_cli.errors import FastViTError

ONE, TWO = (
    Subject(name="one.onnx", error="x"),
    Subject(name="two.onnx", error="x", top1=70.0, top1_source="published"),
)


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_score_goes_to_the_model_it_is_of(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"command": "validate", "result": {"model": "one.onnx", "top1": 81.5}})
    one, two = with_scores([ONE, TWO], [path])
    assert (one.top1, one.top1_source, one.top1_data) == (81.5, "measured", None)
    assert two == TWO


@pytest.mark.parametrize(("split", "data"), [("val", "/photos"), ("test", "/photos (test)")])
def test_a_score_is_of_a_data_set_and_its_split(split: str, data: str, tmp_path: Path) -> None:
    result = {"model": "one.onnx", "top1": 81.5, "data": "/photos", "split": split}
    (one,) = with_scores([ONE], [written(tmp_path / "a.json", {"command": "validate", "result": result})])
    assert one.top1_data == data


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"command": "validate", "result": {"model": "three.onnx", "top1": 81.5}},
            "'three.onnx', which is not timed",
        ),
        ({"command": "bench", "result": {}}, "of the command bench"),
        ({"command": "validate", "error": {}}, "'result'"),
        ([], "holds no score"),
    ],
)
def test_other_files_are_refused(document: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match=message):
        with_scores([ONE], [written(tmp_path / "a.json", document)])
    with pytest.raises(FastViTError, match="No such file"):
        with_scores([ONE], [tmp_path / "none.json"])
