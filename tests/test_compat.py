"""Each function of `compat`: fails by name when a library no longer has, or does, what we use of it."""

import inspect
import io
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from fastvit_cli import compat

pytestmark = pytest.mark.quick

REPOSITORY = Path(__file__).parents[1]


def test_all_functions_have_a_test() -> None:
    public = [name for name, kind in vars(compat).items() if inspect.isfunction(kind) and name[0] != "_"]
    own = [name for name in public if getattr(compat, name).__module__ == compat.__name__]
    assert len(own) > 10
    assert [name for name in own if not any(name in test for test in globals() if test.startswith("test_"))] == []


def test_private_names_stand_in_compat_alone() -> None:
    """Of libraries, that is: `._name` of something that is neither this object nor its class."""
    found = {
        path.name
        for path in (REPOSITORY / "fastvit_cli").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        for before in line.split("._")[:-1]
        if not before.endswith(("self", "cls")) and line.split("._")[1][:1].isalpha() and '"' not in line
    }
    # rich's namedtuple, names inside files; the buffers of a module, and torch's functions for lists of tensors.
    assert found <= {"compat.py", "console.py", "torch_files.py", "recompute.py", "moving_average.py"}


@pytest.mark.parametrize("module", ["resource", "fcntl"])
def test_resource_module_and_file_locks_may_be_missing(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = {"resource": compat.resource_module, "fcntl": compat.file_locks}[module]
    if sys.platform != "win32":
        assert function().__name__ == module
    monkeypatch.setitem(sys.modules, module, None)
    assert function() is None


def test_hang_up_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "win32":
        assert compat.hang_up_signal() == signal.SIGHUP
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    assert compat.hang_up_signal() is None


@pytest.mark.parametrize(
    ("system", "machine", "python", "has_one"),
    [
        ("linux", "x86_64", (3, 13), True),
        ("darwin", "arm64", (3, 11), True),
        ("linux", "aarch64", (3, 13), False),
        ("linux", "x86_64", (3, 14), False),
        ("win32", "AMD64", (3, 12), False),
    ],
)
def test_coremltools_advice(
    system: str, machine: str, python: tuple[int, int], has_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(sys, "version_info", python)
    assert compat.coremltools_advice().startswith("Run: pip install coremltools" if has_one else "There is none")


def test_usage_error() -> None:
    import typer

    assert issubclass(typer.BadParameter, compat.usage_error())
    assert not issubclass(typer.Exit, compat.usage_error())
    assert compat.usage_error()("so it is").format_message() == "so it is"


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_antialiased_resize(interpolation: str) -> None:
    image = torch.arange(3 * 12 * 10, dtype=torch.uint8).reshape(1, 3, 12, 10)
    expected = torch.nn.functional.interpolate(image, (6, 5), mode=interpolation, antialias=True)
    assert torch.equal(compat.antialiased_resize(interpolation)(image, [6, 5], False, 0.5, 0.5), expected)


def test_copy_all() -> None:
    targets = [torch.zeros(2), torch.zeros(3, dtype=torch.int64)]
    compat.copy_all(targets, [torch.ones(2), torch.arange(3)])
    assert [target.tolist() for target in targets] == [[1, 1], [0, 1, 2]]


def test_storage_key() -> None:
    one, other = torch.empty(4, device="meta"), torch.empty(4, device="meta")
    assert compat.storage_key(one) == compat.storage_key(one.view(2, 2)) != compat.storage_key(other)


def test_let_workers_go() -> None:
    loader: DataLoader[Any] = DataLoader(list(range(8)), num_workers=2, persistent_workers=True)  # type: ignore[arg-type]
    assert compat.let_workers_go(loader) == []
    assert len(list(loader)) == 8
    workers = compat.let_workers_go(loader)
    for worker in workers:
        worker.join(20)
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_every_operation() -> None:
    seen = []

    def handle(operator: Any, args: Any, kwargs: Any) -> Any:
        seen.append(str(operator))
        return operator(*args, **kwargs)

    with compat.every_operation(handle):
        assert float(torch.ones(3).sum()) == 3
    assert any("sum" in name for name in seen)


def test_counted_as() -> None:
    from torch.utils.flop_counter import flop_registry

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    assert compat.counted_as(attention) in flop_registry
    assert compat.counted_as(torch.ops.aten.mm) is torch.ops.aten.mm


def test_averaged_gradients_leaves_buffers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """And names the argument as this torch does, so that nothing is said of an old one."""
    from torch.nn import parallel

    known = inspect.signature(parallel.DistributedDataParallel).parameters
    given: dict[str, Any] = {}

    class Wrapper:
        __signature__ = inspect.signature(parallel.DistributedDataParallel)

        def __init__(self, _: Any, **options: Any) -> None:
            given.update(options)

    monkeypatch.setattr(parallel, "DistributedDataParallel", Wrapper)
    compat.averaged_gradients(torch.nn.Linear(1, 1), None)
    assert given.pop("device_ids") is None
    assert given.pop("gradient_as_bucket_view") is True
    assert list(given.values()) == [False]
    assert set(given) <= set(known)


def test_gloo_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """What a library writes to the file itself, past Python's stream, as gloo does."""
    with compat.gloo_on_stderr():
        os.write(1, b"connected")
    os.write(1, b"result")
    assert capfd.readouterr() == ("result", "connected")


def test_launch_config_and_the_signals_of_older_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes no choice of signals passes all of them to its handler."""
    from torch.distributed.elastic.multiprocessing import api
    from torch.distributed.launcher import api as launcher

    options = {"min_nodes": 1, "max_nodes": 1, "nproc_per_node": 2}
    config = compat.launch_config(7, ["SIGTERM"], **options)
    assert config.nproc_per_node == 2
    if hasattr(config, "shutdown_timeout"):
        assert config.shutdown_timeout == 7
    assert getattr(config, "signals_to_handle", "SIGTERM") == "SIGTERM"
    monkeypatch.setattr(api, "_terminate_process_handler", api._terminate_process_handler)  # put back at the end
    monkeypatch.setattr(launcher, "LaunchConfig", lambda **_: None)
    monkeypatch.setattr(compat.inspect, "signature", lambda _: SimpleNamespace(parameters={}))
    compat.launch_config(7, ["SIGTERM"])
    api._terminate_process_handler(signal.SIGHUP, None)
    with pytest.raises(api.SignalException):
        api._terminate_process_handler(signal.SIGTERM, None)


@pytest.mark.parametrize("name", ["rand-m9-mstd0.5-inc1", "original", "augmix-m3-w3"])
def test_replace_operations(name: str) -> None:
    from timm.data import auto_augment

    makers = {"rand": auto_augment.rand_augment_transform, "augmix": auto_augment.augment_and_mix_transform}
    policy = makers.get(name.split("-")[0], auto_augment.auto_augment_transform)(name, {})
    names, applied = set(), []

    def replacement(function: Any) -> Any:
        names.add(function.__name__)
        return lambda image, *_, **__: applied.append(function.__name__) or image

    assert compat.replace_operations(policy, replacement)
    assert {"rotate", "posterize", "solarize", "equalize"} <= names
    for _ in range(20):
        policy(Image.new("RGB", (8, 8)))
    assert applied
    assert set(applied) <= names


def test_replace_operations_knows_when_there_is_no_table() -> None:
    assert not compat.replace_operations(torch.nn.Identity(), lambda _: _)


def test_random_crop() -> None:
    top, left, height, width = compat.random_crop(40, 60, (0.2, 0.5), (3 / 4, 4 / 3))
    assert 0 < height <= 40 - top
    assert 0 < width <= 60 - left
    assert 0.15 < height * width / (40 * 60) < 0.55


def test_mil_program_and_read_mil_program(tmp_path: Path) -> None:
    ct = pytest.importorskip("coremltools", reason="coremltools has no wheel here")
    exported = torch.export.export(torch.nn.Conv2d(3, 4, 1).eval(), (torch.zeros(1, 3, 8, 8),))
    model = ct.convert(
        exported.run_decompositions({}), skip_model_load=True, minimum_deployment_target=ct.target.iOS16
    )
    model.save(str(tmp_path / "conv.mlpackage"))
    spec, program = compat.read_mil_program(ct.models.MLModel(str(tmp_path / "conv.mlpackage"), skip_model_load=True))
    assert spec.specificationVersion >= 7
    for either in (compat.mil_program(model), program):
        (function,) = either.functions.values()
        assert "conv" in [operation.op_type for operation in function.operations]


def test_quantize_with_ranges(tmp_path: Path) -> None:
    """The second time no image is asked for."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import quantization

    weight = numpy_helper.from_array(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3, 1, 1), "weight")
    shapes = {name: [1, channels, 4, 4] for name, channels in (("given", 3), ("result", 4))}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    node = helper.make_node("Conv", ["given", "weight"], ["result"], "conv")
    graph = helper.make_graph([node], "graph", values[:1], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.left = [{"given": np.ones((1, 3, 4, 4), np.float32)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    for reader in (Reader(), Reader()):
        output = tmp_path / "quantized.onnx"
        compat.quantize_with_ranges(model, output, reader, tmp_path / "ranges.json", per_channel=True)
        assert output.is_file()
    assert len(reader.left) == 1


def test_shard_name_parts() -> None:
    pytest.importorskip("webdataset", reason="an extra")
    assert compat.shard_name_parts("folder/a.b/0001.seg.png") == ("folder/a.b/0001", "seg.png")


def test_rich_writes_in_check_buffer() -> None:
    """`ui.console.Terminal` handles there what cannot be written."""
    from rich.console import Console

    assert inspect.signature(Console._check_buffer).parameters.keys() == {"self"}

    class Watched(Console):
        def _check_buffer(self) -> None:
            seen.append(1)
            super()._check_buffer()

    seen: list[int] = []
    Watched(file=io.StringIO()).print("text")
    assert seen


def test_rich_has_a_place_for_broken_pipes() -> None:
    from rich.console import Console

    assert callable(Console.on_broken_pipe)
