"""What int8 costs and brings on a trained model: top-1 and speed, for several choices of what is in int8.

    python tests/benchmarks/export_int8.py --ckpt best.safetensors --data FOLDER

Calibrated on images of train/, scored on all of val/. `rounded` computes in float32 between the roundings, as a CPU
whose int8 sums cannot saturate does; `kernels` is ONNX Runtime on this CPU. The speed is that of one image on all
cores, interleaved. Prints the rows of the table in docs/exports.md.
"""

import argparse
import functools
import tempfile
from pathlib import Path

import onnx
import torch
from rich.console import Console
from torch import Tensor

from fastvit_cli.bench.statistics import Ratio, paired_ratio, summarize
from fastvit_cli.bench.timer import Limits, Timed, interleave, warm_up
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.data.loader import load_some_images
from fastvit_cli.data.model_classes import match_classes, with_model_classes
from fastvit_cli.data.sources import choose_data, open_images
from fastvit_cli.exporters import onnx_int8
from fastvit_cli.exporters.sensitivity import largest_change
from fastvit_cli.models.channels_first import channels_first
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.runtimes.onnx_conversion import to_onnx
from fastvit_cli.runtimes.onnx_runtime import OnnxRuntime

CPU = torch.device("cpu")
TIMING = Limits(iterations=20, min_seconds=2.0, max_seconds=20.0)


def top1(model: onnx.ModelProto, images: Tensor, labels: Tensor, optimize: bool) -> float:
    """Percent."""
    runtime = OnnxRuntime(model.SerializeToString(), CPU, optimize)
    found = torch.cat([runtime.logits(batch).argmax(1) for batch in images.split(16)])
    return 100 * float((found == labels).double().mean())


def speed_ratio(one: onnx.ModelProto, other: onnx.ModelProto, given: Tensor) -> Ratio:
    """The time of `one` over that of `other`, measured in turns: 2 when `other` is twice as fast."""
    subjects = {}
    for name, model in enumerate((one, other)):
        run = functools.partial(OnnxRuntime(model.SerializeToString(), CPU).run, given)
        timed = Timed((run,), synchronize=lambda: None)
        subjects[name] = timed, warm_up(timed, TIMING)
    medians = []
    for samples in interleave(subjects, TIMING).values():
        if isinstance(samples, Exception):
            raise samples
        medians.append(summarize(samples.parts[0]).round_medians_ms)
    return paired_ratio(*medians)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--calibration", type=int, default=512, help="images")
    options = parser.parse_args()
    console = Console(highlight=False)
    loaded = load_checkpoint(options.ckpt)
    data, info = choose_data(options.data), loaded.info
    images = open_images(data, "val")
    match = match_classes(images, info.num_classes, info.class_names)
    val = load_some_images(with_model_classes(images, match), info.preprocessing, 10**6)
    assert val.labels is not None
    train = load_some_images(open_images(data, "train"), info.preprocessing, options.calibration).pixels
    exact = to_onnx(channels_first(fuse_all(loaded.network)), info=info)
    runtime = OnnxRuntime(exact.SerializeToString(), CPU)
    with tempfile.TemporaryDirectory() as folder:
        ranges = onnx_int8._Ranges(runtime, train, Path(folder) / "ranges.json")
        candidates = sorted(
            onnx_int8._measured(exact, ranges, lambda *_: None), key=lambda candidate: -candidate.change
        )
        for candidate in candidates:
            console.print(f"{candidate.node:24} alone changes the output by {100 * candidate.change:.1f} %")
        convolutions = [node.name for node in exact.graph.node if node.op_type == "Conv"]
        limit = largest_change("int8")
        chosen = [candidate.node for candidate in candidates if candidate.change <= limit]
        choices = {
            "nothing": exact,
            f"all {len(convolutions)} convolutions": onnx_int8._quantized(exact, ranges, convolutions),
            f"all {len(candidates)} larger 1x1": onnx_int8._quantized(
                exact, ranges, [candidate.node for candidate in candidates]
            ),
            f"{len(chosen)}, as the command chooses": onnx_int8._quantized(exact, ranges, chosen),
        }
    for name, model in choices.items():
        scores = [top1(model, val.pixels, val.labels, optimize) for optimize in (False, True)]
        ratio = speed_ratio(exact, model, runtime.as_input(val.pixels[:1]))
        cells = [name, *(f"{score:.1f} %" for score in scores)]
        cells.append(f"{ratio.value:.2f} ({ratio.low:.2f} – {ratio.high:.2f})")
        console.print("|", " | ".join(cells), "|", soft_wrap=True)


if __name__ == "__main__":
    main()
