"""Whether validating keeps anything for each image: the peak memory of the process while it goes on.

    python tests/benchmarks/validate_memory.py --source photos --images 50000

A few images are read over and over, by a model of a thousand classes that only looks at colours, compared with
another one. With --report the predictions are kept, and the memory may grow.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from fastvit_cli.checkpoints.select import random_model
from fastvit_cli.data.images import ImageFolder
from fastvit_cli.data.packed_names import PackedNames
from fastvit_cli.data.sources import DataChoice
from fastvit_cli.devices import peak_memory_mb
from fastvit_cli.evaluation import validate as room
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.models.preprocessing import Preprocessing

CLASSES = 1000
CPU = torch.device("cpu")


class Colours:
    """A thousand logits from three mean colours. See `runtimes.base.Runtime`."""

    engine = "colours"
    device_name = "cpu"

    def __init__(self, seed: int) -> None:
        info = random_model("t8", CLASSES).info
        self.info = replace(info, preprocessing=Preprocessing(img_size=32))
        self._weights = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(seed))

    def logits(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3)) @ self._weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, required=True, help="folder of images, searched with its folders")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    found = sorted(path for path in options.source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    names = [
        str(found[number % min(500, len(found))].relative_to(options.source)) for number in range(options.images)
    ]
    labels = np.arange(options.images, dtype=np.int32) % CLASSES
    classes = tuple(f"class{number}" for number in range(CLASSES))
    images = ImageFolder(options.source, classes, PackedNames.of(names), labels)
    room.open_images = lambda *_: images  # type: ignore[assignment]  # so many files need not lie on the disk
    config = ValidateConfig(workers=1, report="x" if options.report else None, compare="other")
    console, steps = Console(), max(1, options.images // 10)
    shown: set[int] = set()

    def progress(done: int, total: int) -> None:
        if done // steps not in shown:
            shown.add(done // steps)
            console.print(f"{done:>7,} of {total:,} images: peak {peak_memory_mb(CPU):.1f} MiB")

    data = DataChoice(str(options.source), options.source, "--source")
    room.validate(config, Colours(0), data, "colours", other=Colours(1), listeners=room.Listeners(progress=progress))


if __name__ == "__main__":
    main()
