"""`fastvit bench` as it is typed: its files, comparing with an earlier run, and what cannot be timed."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from helpers.loaded import saved_model
from helpers.program import run
from onnx import TensorProto, helper
from safetensors.torch import save_file

from fastvit_cli.bench import run as bench_run
from fastvit_cli.bench import timer
from fastvit_cli.bench.bench_options import BenchConfig
from fastvit_cli.commands.bench import _subjects
from fastvit_cli.errors import FastViTError
from fastvit_cli.ui import bench_files
from fastvit_cli.ui.session import Session

QUICK = ("--img-size", 32, "--iterations", 6, "--min-seconds", 0)


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timer, "_WINDOW_NS", 0)
    monkeypatch.setattr(timer, "_WINDOW_STEPS", 1)
    monkeypatch.setattr(bench_run, "matmul_peak", lambda _device, _dtype: 1e12)


def test_a_run_its_files_and_a_later_one_against_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("bench", "--variant", "t8", *QUICK)
    first = run(capsys, *words, "--output", "first", "--json")
    (row,) = first.result["results"]
    assert row["error"] is None
    assert first.result["machine"]["cpu"]
    path = tmp_path / "first" / "results.json"
    assert json.loads(path.read_text())["result"] == first.result
    assert {"report.html", "latency.png", "samples.csv"} <= {file.name for file in path.parent.iterdir()}
    # Another kind of machine is simulated by an edited file: this one's speed must not matter.
    document = json.loads(path.read_text())
    for factor, code, verdict in ((0.01, 1, "slower, beyond tolerance"), (100, 0, "faster")):
        document["result"]["results"][0]["round_medians_ms"] = [factor * ms for ms in row["round_medians_ms"]]
        (tmp_path / "edited.json").write_text(json.dumps(document))
        later = run(capsys, *words, "--compare", "edited.json")
        assert later.code == code, later.err
        assert verdict in " ".join(later.out.split())


def test_where_files_go_is_looked_at_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(bench_run, "run_bench", lambda *_: pytest.fail("it was measured"))
    outcome = run(capsys, "bench", "--variant", "t8", "--output", "file/bench", "--json")
    assert outcome.code == 2
    assert "Cannot write to" in outcome.error["message"]


@pytest.mark.parametrize(("error", "code"), [(FastViTError("Disk full.", "Free some."), 2), (ValueError("oops"), 1)])
def test_files_that_cannot_be_written_cost_no_figures(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(bench_files, "write_bench_files", fail)
    outcome = run(capsys, "bench", "--variant", "t8", *QUICK, "--output", "bench", "--json")
    assert outcome.code == code
    assert outcome.document["result"]["results"][0]["median_ms"], "one document, which is the result"
    said, hint = outcome.err.splitlines()[-2:]
    assert str(error.args[0]) in said
    assert hint.startswith("Hint: ")


def test_random_weights_follow_the_seed() -> None:
    weights = []
    for seed in (1, 1, 2):
        (subject,) = _subjects(BenchConfig(variant=("t8",), seed=seed), Session("bench", quiet=True))
        assert subject.network is not None
        weights.append(subject.network.head.fc.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_is_no_fastvit_is_a_row_and_alone_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    (tmp_path / "graph.xml").write_bytes(b"<net></net>")
    words = ("bench", "--ckpt", "other.safetensors", "--ckpt", "broken.onnx", "--ckpt", "graph.xml", *QUICK)
    alone = run(capsys, *words)
    assert alone.code == 1
    assert "other.safetensors" in alone.out
    saved_model(tmp_path / "t8.safetensors")
    rows = run(capsys, *words, "--ckpt", "t8.safetensors", "--json").result["results"]
    assert [bool(row["error"]) for row in rows] == [True, True, True, False]
    assert "broken.onnx" in rows[1]["error"]
    assert "'graph.xml' is an exported file" in rows[2]["error"]
    assert [rows[3][key] for key in ("top1", "top1_source", "top1_data")] == [61.5, "measured", "demo"]


class Foreign(torch.nn.Module):
    """Two outputs, neither of them a FastViT's."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3)), x.relu()


@pytest.mark.parametrize(("size", "dtype"), [(48, torch.float32), (None, torch.float16)])
def test_a_graph_of_another_program_is_timed(
    size: int | None, dtype: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one size, or of any."""
    free = None if size else dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    torch.onnx.export(
        Foreign(),
        (torch.zeros(1, 3, 48, 48, dtype=dtype),),
        "other.onnx",
        dynamo=True,
        input_names=["input0"],
        dynamic_shapes=None if free is None else (free,),
        verbose=False,
    )
    words = ("bench", "--ckpt", "other.onnx", "--iterations", 6, "--min-seconds", 0, "--peer", "timm", "--json")
    outcome = run(capsys, *words)
    (row,) = outcome.result["results"]
    assert row["error"] is None
    assert row["median_ms"] > 0
    assert (row["variant"], row["img_size"], row["params"]) == ("other", size or 256, None)
    assert "other.onnx is of another program" in outcome.err
    (asked,) = run(capsys, *words, "--img-size", 32).document["result"]["results"]
    assert (asked["img_size"], asked["error"] is None) == (32, size is None)
    (batch,) = run(capsys, *words, "--batch-size", 2).document["result"]["results"]
    assert "dimensions" in batch["error"], "it takes one image at a time"


def test_a_graph_that_takes_no_images_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    for name, inputs, dims in (("two", ["a", "b"], [1, 3, 8, 8]), ("flat", ["a"], [1, 8])):
        given = [helper.make_tensor_value_info(key, TensorProto.FLOAT, dims) for key in inputs]
        out = helper.make_tensor_value_info("n" * 300, TensorProto.FLOAT, dims)
        graph = helper.make_graph([helper.make_node("Sum", inputs, ["n" * 300])], "g", given, [out])
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
        onnx.save(model, f"{name}.onnx")
    outcome = run(capsys, "bench", "--ckpt", "two.onnx", "--ckpt", "flat.onnx", *QUICK, "--json")
    assert outcome.code == 1
    two, flat = (row["error"] for row in outcome.document["result"]["results"])
    assert "takes 2 inputs" in two
    assert "takes tensor(float) of (1, 8), not float images" in flat


def test_core_ml_away_from_a_mac_is_two_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    refused = run(capsys, "bench", "--variant", "t8", "--engine", "coreml", *QUICK)
    assert refused.code == 2
    assert "Mac" in refused.err
    assert "--engine onnxruntime" in refused.err
