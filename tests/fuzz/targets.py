"""What the program makes of a file: what it holds as the program opened it, or that it was refused."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from fuzz.exports import opened

from fastvit_cli.app import main
from fastvit_cli.errors import FastViTError

ROOT = Path(__file__).resolve().parents[2]
MAX_MESSAGE = 700  # characters of a message; values are echoed shortened
# Where and how long a run goes on, which its user may change from one call to the next.
MAY_CHANGE = frozenset(
    (
        *("resume", "check_data", "dry_run", "workers", "device", "max_bad_images", "nproc_per_node", "world_size"),
        *("epochs", "save_every", "time_limit", "patience", "wandb"),
    )
)
_TIMES = ("images_per_second", "seconds", "data_wait", "memory_mb")
_INTERNAL = ("Something went wrong inside", "Traceback (most recent call last)")
_NO_MEMORY = ("MemoryError", "can't allocate memory", "bad_alloc", "Cannot allocate memory", "not enough memory")

Contents = dict[str, str]
"""What was opened, as comparable texts by name."""


class InternalError(Exception):
    """The program did not answer as it promises: not in two lines, or with a bug's exit code."""


# --- refusals -------------------------------------------------------------------------------------


def check_refusal(message: str, hint: str) -> None:
    """
    Raises:
        InternalError: not what is wrong and what to do, in a line each.
    """
    if any(sign in message for sign in _INTERNAL):
        raise InternalError(message)
    if not message or not hint:
        raise InternalError(f"a refusal without a message or a hint: {message!r} {hint!r}")
    if "\n" in message + hint:
        raise InternalError(f"a refusal of more than two lines: {message!r} {hint!r}")
    if len(message) + len(hint) > MAX_MESSAGE:
        raise InternalError(f"a refusal of {len(message) + len(hint)} characters: {message[:200]!r}")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking somewhere behind it, whatever it was taken for."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or any(sign in str(seen) for sign in _NO_MEMORY):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


# --- the program ----------------------------------------------------------------------------------


def run_program(words: list[str], *, process: bool = False) -> dict[str, Any]:
    """The `result` of `fastvit <words> --json`, in this process or in one of its own.

    Raises:
        FastViTError: it refused.
        InternalError: it ended otherwise than it promises.
    """
    code, out, err = (_in_process if process else _here)([*words, "--json", "--verbose"])
    try:
        document = json.loads(out)
    except ValueError:
        raise InternalError(f"exit code {code} without a JSON document: {out[-200:]} {err[-500:]}") from None
    if "error" in document:
        error = document["error"]
        if code not in (1, 2):
            raise InternalError(f"exit code {code}: {error['message']}")
        check_refusal(error["message"], error["hint"])
        refusal = FastViTError(error["message"], error["hint"])
        if any(sign in err for sign in _NO_MEMORY):
            raise refusal from MemoryError("behind the refusal")
        raise refusal
    if code not in (0, 1):
        raise InternalError(f"exit code {code} with a result")
    found: dict[str, Any] = document["result"]
    if code == 1:
        raise FastViTError("The work failed.", json.dumps(found)[:200])
    return found


def _here(words: list[str]) -> tuple[int, str, str]:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            code = main(words)
    except SystemExit as error:
        raise InternalError(f"it ended the process with {error.code}") from error
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "replace"))
    return code, texts[0], texts[1]


def _in_process(words: list[str]) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "fastvit_cli", *words], capture_output=True, env=environment, timeout=200, check=False
    )
    if ended.returncode < 0:
        raise InternalError(f"the process was ended by signal {-ended.returncode}")
    return ended.returncode, ended.stdout.decode("utf-8", "replace"), ended.stderr.decode("utf-8", "replace")


def trusting(path: str) -> list[str]:
    """The option that a file which may run code needs, as far as this program has it."""
    from fastvit_cli.evaluation.validate_options import ValidateConfig

    has = any(item.name == "trust" for item in dataclasses.fields(ValidateConfig))
    return ["--trust"] if has and path.endswith((".pt2", ".torchscript")) else []


# --- what was opened ------------------------------------------------------------------------------


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Of names, types, shapes and bits, without the program's own checksum."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _info(info: Any, prefix: str = "metadata") -> Contents:
    fields = info if isinstance(info, dict) else dataclasses.asdict(info)
    return {f"{prefix}.{name}": repr(value) for name, value in fields.items() if name != "checksum"}


def open_checkpoint(path: Path) -> Contents:
    """As the library loads it."""
    from fastvit_cli.checkpoints.load import load_checkpoint

    loaded = load_checkpoint(path)
    return {"weights": tensors_digest(loaded.network.state_dict()), **_info(loaded.info)}


def score(path: Path, data: Path, *, process: bool) -> Contents:
    """As `fastvit validate` scores it."""
    words = ["validate", "--ckpt", str(path), "--data", str(data), "--workers", "0", "--batch-size", "12"]
    result = run_program([*words, *trusting(path.name)], process=process)
    return {
        f"score.{name}": repr(result[name]) for name in ("top1", "top5", "loss", "num_images", "variant", "img_size")
    }


def open_export(folder: Path, format_: str) -> Contents:
    """As the runtime of its format opens it and computes two images; the weights as another reader finds them."""
    from fastvit_cli.runtimes.open import open_runtime

    path = folder / opened(format_)
    trust = {"trust": True} if "trust" in inspect.signature(open_runtime).parameters else {}
    runtime = open_runtime(path, torch.device("cpu"), **trust)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    logits = runtime.logits(images)
    try:
        weights = _weights(path, runtime)
    except Exception as error:
        weights = f"cannot be read ({type(error).__name__}: {str(error)[:80]})"
    return {"logits": tensors_digest({"logits": logits}), **_info(runtime.info), "weights": weights}


def _weights(path: Path, runtime: Any) -> str:
    if path.suffix == ".onnx":
        import onnx
        from onnx.numpy_helper import to_array

        graph = onnx.load(path).graph
        return tensors_digest({t.name: torch.from_numpy(to_array(t).copy()) for t in graph.initializer})
    if path.suffix == ".mlpackage":
        return tensors_digest({str(place): weight for place, weight in enumerate(runtime.weights())})
    if path.suffix == ".pt2":
        return tensors_digest(torch.export.load(path).state_dict)
    if path.suffix == ".torchscript":
        return tensors_digest(torch.jit.load(path).state_dict())
    import openvino

    constants = [node for node in openvino.Core().read_model(path).get_ops() if node.get_type_name() == "Constant"]
    return tensors_digest({node.get_friendly_name(): torch.from_numpy(node.data.copy()) for node in constants})


# --- runs -----------------------------------------------------------------------------------------


def resume(folder: Path, *, process: bool = False) -> Contents:
    """As `fastvit train --resume` goes on with it to the end of its second epoch."""
    words = ["train", "--resume", str(folder), "--epochs", "2", "--time-limit", "60"]
    result = run_program(words, process=process)
    history = [{name: value for name, value in row.items() if name not in _TIMES} for row in result["history"]]
    found = {"history": repr(history)}
    found |= {
        f"result.{name}": repr(result[name]) for name in ("top1", "top5", "loss", "epochs", "best_epoch", "stopped")
    }
    options = yaml.safe_load((folder / "config.yaml").read_text())
    options["variant"] = str(options["variant"]).removeprefix("fastvit_")
    found |= {f"config.{name}": repr(value) for name, value in options.items() if name not in MAY_CHANGE}
    for name in ("best", "last"):
        found |= _stored(folder / f"{name}.safetensors", name)
    return found


def _stored(path: Path, name: str) -> Contents:
    """Weights and metadata of a file that the program wrote, read without it."""
    from safetensors import safe_open

    if not path.is_file():  # a FIFO would be waited for
        return {f"{name}.weights": "no file"}
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            info = json.loads(file.metadata()["fastvit"])
    except Exception as error:  # damaged or missing, and the program did not mind
        return {f"{name}.weights": f"cannot be read ({type(error).__name__}: {str(error)[:80]})"}
    info["recipe"] = {key: value for key, value in info["recipe"].items() if key not in MAY_CHANGE}
    return {f"{name}.weights": tensors_digest(tensors), **_info(info, f"{name}.metadata")}


def plan(path: Path, *, process: bool = False) -> Contents:
    """As `fastvit train --config` would train with it. What the file says is compared with what is planned.

    Raises:
        FastViTError: it was refused.
    """
    result = run_program(
        ["train", "--config", str(path), "--dry-run", "--output", str(path.parent / "new")], process=process
    )
    typed: dict[str, Any] = {}
    for name, value in _pairs(path):
        if name == "<<":  # fills in what the file does not set, and it sets all
            continue
        typed.setdefault(name.replace("-", "_"), []).append(value)
    found = {}
    for name, values in typed.items():
        used = result["options"].get(name)
        wrong = [value for value in values if not _same(value, used)]
        if wrong and "auto" not in values:
            found[f"option.{name}"] = f"the file says {values!r:.200}, planned is {used!r:.200}"
    return found


def _pairs(path: Path) -> list[tuple[str, Any]]:
    """Names and values of a YAML file, each as often as it is there."""
    node = yaml.compose(path.read_text(encoding="utf-8-sig"), yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return []
    loader = yaml.SafeLoader("")
    return [(str(key.value), loader.construct_object(value, deep=True)) for key, value in node.value]


def _same(value: Any, used: Any) -> bool:
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if type(used) in (int, float) and type(value) in (int, float, str):
            return float(value) == float(used) or value != value
    return bool(value == used) or (
        isinstance(value, str) and isinstance(used, str) and used.endswith(value.split("/")[-1])
    )
