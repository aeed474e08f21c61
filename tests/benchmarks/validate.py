"""Validating a folder of JPEGs from end to end, against timm's loader and timm's fused network in PyTorch.

    python tests/benchmarks/validate.py --images 2000 --rounds 3 --workers 2

The images are photographs of a folder (--source), encoded anew with small changes until there are enough; the weights
are random, the same for both. Every round runs each side once, in a new order; a side's time runs from the first
request for a batch to the last score. The conversion that `--engine auto` may do comes before, and is told apart.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageEnhance
from rich.console import Console
from safetensors.torch import save_file

from fastvit_cli import create_model
from fastvit_cli.data.sources import DataChoice
from fastvit_cli.evaluation.validate import Listeners, score
from fastvit_cli.evaluation.validate_options import ValidateConfig
from fastvit_cli.runtimes.open import open_runtime
from fastvit_cli.ui.tables import data_table

CLASSES = 10
BATCH = 64
Scored = tuple[float, float]  # images/s and top-1 in percent


def write_images(source: Path, folder: Path, count: int) -> None:
    """Re-encoded photographs in class folders that mean nothing."""
    pictures = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    draw = random.Random(0)
    for number in range(count):
        with Image.open(pictures[number % len(pictures)]) as image:
            changed = ImageEnhance.Brightness(image.convert("RGB")).enhance(draw.uniform(0.8, 1.2))
        left, top = draw.randrange(8), draw.randrange(8)
        target = folder / "val" / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        changed.crop((left, top, *changed.size)).save(target, quality=draw.randrange(80, 95))


def ours(ckpt: Path, folder: Path, workers: int, engine: str) -> Callable[[], Scored]:
    """`fastvit validate`, opened anew each time; prints what the start costs."""
    config = ValidateConfig(data=str(folder), workers=workers, batch_size=BATCH, engine=engine, class_map=None)
    data = DataChoice(str(folder), folder, "--data")

    def run() -> Scored:
        started = time.perf_counter()
        opened = open_runtime(ckpt, torch.device("cpu"))
        chosen: list[float] = []
        listeners = Listeners(engine=lambda _: chosen.append(time.perf_counter() - started))
        result = score(config, opened, data, str(ckpt), listeners=listeners).result
        start = f"{result.engine}, opened and converted in {chosen[0]:.1f} s"
        Console().print(f"  {start}, then {result.images_per_second:.1f} images/s")
        return result.images_per_second, result.top1

    return run


def peer(state: dict[str, torch.Tensor], variant: str, folder: Path, workers: int) -> Callable[[], Scored]:
    """The loop of timm's validate.py, without what it prints."""
    model = timm.create_model(f"fastvit_{variant}", num_classes=CLASSES).eval()
    model.load_state_dict(state)
    model = timm.utils.model.reparameterize_model(model)
    settings = timm.data.resolve_data_config({}, model=model)

    @torch.inference_mode()
    def run() -> Scored:
        loader = timm.data.create_loader(
            timm.data.create_dataset("", root=str(folder / "val")),
            input_size=settings["input_size"],
            batch_size=BATCH,
            use_prefetcher=False,
            interpolation=settings["interpolation"],
            mean=settings["mean"],
            std=settings["std"],
            num_workers=workers,
            crop_pct=settings["crop_pct"],
        )
        hits = images = 0
        started = time.perf_counter()
        for batch, labels in loader:
            hits += int((model(batch).argmax(1) == labels).sum())
            images += len(labels)
        return images / (time.perf_counter() - started), 100.0 * hits / images

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, required=True, help="folder of photographs, searched with its folders")
    parser.add_argument("--variant", default="t8")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", default="auto")
    options = parser.parse_args()
    torch.manual_seed(0)
    state = create_model(options.variant, num_classes=CLASSES).state_dict()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(options.source, folder, options.images)
        save_file(state, folder / "random.safetensors")
        sides = {
            "fastvit": ours(folder / "random.safetensors", folder, options.workers, options.engine),
            "timm": peer(state, options.variant, folder, options.workers),
        }
        scored: dict[str, list[Scored]] = {side: [] for side in sides}
        order, shuffle = list(sides), random.Random(0)
        for _ in range(options.rounds):
            shuffle.shuffle(order)
            for side in order:
                scored[side].append(sides[side]())
    ratios = [mine[0] / theirs[0] for mine, theirs in zip(scored["fastvit"], scored["timm"], strict=True)]
    rows = [
        (side, f"{np.median([rate for rate, _ in found]):.1f}", f"{found[0][1]:.2f}")
        for side, found in scored.items()
    ]
    machine = f"{options.workers} workers, {torch.get_num_threads()} threads"
    title = f"fastvit_{options.variant}, {options.images} JPEGs, {machine}"
    Console().print(data_table(("", "images/s", "top-1 %"), rows, title=title))
    Console().print(f"× timm, round by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
