"""Our ONNX file against timm's fused model in eager PyTorch and against timm's own ONNX export of the same weights.

    python tests/benchmarks/export_onnx.py --variant t8 --iterations 200

Timed in turns by the timer of `fastvit bench`, so that a slow moment of the machine hits all of them. Printed: median
time, and how many times as fast as both peers, with 95 % intervals.
"""

import argparse
import tempfile
from pathlib import Path

import onnxruntime
import timm
import torch
from fusion import Forward, interleaved, times_faster
from rich.console import Console
from torch import Tensor

from fastvit_cli import create_model
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.runtimes.onnx_conversion import to_onnx
from fastvit_cli.ui.tables import data_table

OURS, EAGER, PEER = "fastvit ONNX", "timm fused, eager", "timm ONNX"


def session(model: bytes | str, threads: int) -> Forward:
    """ONNX Runtime as it comes, on as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    opened = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = opened.get_inputs()[0].name
    return lambda images: torch.from_numpy(opened.run(None, {name: images.numpy()})[0])


def subjects(variant: str, size: int, threads: int) -> dict[str, Forward]:
    """The same weights three times. timm's are exported as its onnx_export.py does by default: batch 1, dynamo."""
    torch.manual_seed(0)
    model = create_model(variant).eval()
    peer = timm.create_model(f"fastvit_{variant}").eval()
    peer.load_state_dict(model.state_dict())
    info = ModelInfo(variant, "all", 1000, default_preprocessing(model.variant, size))
    ours = to_onnx(fuse_all(model), info).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "timm.onnx")
        fused = timm.utils.model.reparameterize_model(peer)
        torch.onnx.export(fused, (torch.zeros(1, 3, size, size),), path, dynamo=True, external_data=False)
        theirs = session(path, threads)
    return {OURS: session(ours, threads), EAGER: fused, PEER: theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variant", default="t8")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--img-size", type=int, default=256)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    forwards = subjects(options.variant, options.img_size, threads)
    images = torch.randn(1, 3, options.img_size, options.img_size)
    with torch.inference_mode():
        outputs: dict[str, Tensor] = {name: forward(images) for name, forward in forwards.items()}
    largest = max((output - outputs[OURS]).abs().max().item() for output in outputs.values())
    times = interleaved(forwards, images, options.iterations)
    rows = [
        (name, f"{ours.median_ms:.2f}", *(times_faster(ours, times[peer]) for peer in (EAGER, PEER)))
        for name, ours in times.items()
    ]
    title = f"fastvit_{options.variant}, batch 1, {threads} threads; largest difference {largest:.1g}"
    columns = ("subject", "median ms", f"× {EAGER}", f"× {PEER}")
    Console().print(data_table(columns, rows, title=title))


if __name__ == "__main__":
    main()
