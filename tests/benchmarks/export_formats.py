"""Every variant as Core ML and ONNX, in float32 and float16: how far from PyTorch, on which share of images the same.

    python tests/benchmarks/export_formats.py --variants t8 sa12 --img-size 256

Weights are drawn by the rule of tests/golden, in which every part of the network matters. Prints the rows of the
table in docs/exports.md.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.loaded import loaded_model, pixels
from rich.console import Console

from fastvit_cli.data.loader import RealImages
from fastvit_cli.exporters.export import write_export
from fastvit_cli.exporters.export_options import ExportConfig
from fastvit_cli.formats import FORMATS
from fastvit_cli.models.variants import VARIANTS

FORMS = (("coreml", "fp32"), ("coreml", "fp16"), ("onnx", "fp32"), ("onnx", "fp16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--img-size", type=int, default=256)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--headless", action="store_true")
    options = parser.parse_args()
    console = Console(highlight=False)
    images = RealImages(pixels(options.images, options.img_size))
    for variant in options.variants:
        model = loaded_model(variant)
        for format_, precision in FORMS:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                config = ExportConfig(
                    format=format_,
                    precision=precision,
                    headless=options.headless,
                    img_size=options.img_size,
                    output=str(Path(folder) / f"a{FORMATS[format_].suffix}"),
                )
                result = write_export(config, model, images)
            check = result.check
            agreement = "–" if check.top1_agreement is None else f"{100 * check.top1_agreement:.1f} %"
            seconds = time.perf_counter() - started
            cells = [variant, format_, precision, f"{result.size_bytes / 1e6:.1f} MB"]
            cells += [
                f"{check.max_abs_error:.1e}",
                f"{check.mean_abs_error:.1e}",
                f"{check.tolerance:.1e}",
            ]
            verdict = "passed" if check.passed else "FAILED"
            console.print("|", " | ".join([*cells, agreement, verdict]), "|", f"{seconds:.0f} s", soft_wrap=True)


if __name__ == "__main__":
    main()
