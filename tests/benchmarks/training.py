"""The same training step beside timm's: images per second with the loader, and peak memory.

    python tests/benchmarks/training.py [--variants t8 sa24] [--rounds 7] [--steps 20] [--data FOLDER]

timm's side is what its training script does, written with timm's model, loader, mixing, loss, average and optimizer;
ours is the `Trainer` that `fastvit train` runs. Both read the same files with as many workers and take their options
from recipe `imagenet`. Every round starts each subject in a process of its own, one after the other, and times
`--steps` steps after a warm-up; ratios are taken within a round. On a CPU in contiguous float32, on CUDA in bfloat16
with channels last, with and without torch.compile. Memory is what CUDA counts for the device; on a CPU it is that of
the process, Python and its libraries included. Without --data the demo images are read, enlarged to 500 x 375 so that
decoding costs what it costs for photos.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from fastvit_cli.data.class_folders import list_class_folders
from fastvit_cli.data.sources import choose_data
from fastvit_cli.data.workers import resolve_workers
from fastvit_cli.devices import peak_memory_mb, reset_peak_memory, resolve_device, synchronize
from fastvit_cli.models.variants import get_variant
from fastvit_cli.training.build import build_trainer
from fastvit_cli.training.resolve_options import resolve_config
from fastvit_cli.training.train_options import TrainConfig
from fastvit_cli.ui.tables import data_table

PHOTO = (500, 375)
WARM_UP = 5  # steps; on CUDA these also compile
OURS, TIMMS = "fastvit", "timm"


@dataclass(frozen=True)
class Measured:
    """One process: its rate with the loader, the share of the time it waited for batches, its peak memory."""

    images_per_second: float
    data_wait: float
    peak_mb: float


class Stopwatch:
    """Times the steps after the warm-up."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self._device, self._steps, self._done, self._waited = device, steps, 0, 0.0
        self._started = self.seconds = 0.0
        self.waited = 0.0

    def step(self, waited_so_far: float) -> bool:
        """Count one step; whether it was the last."""
        self._done += 1
        if self._done == WARM_UP:
            synchronize(self._device)
            self._started, self._waited = time.perf_counter(), waited_so_far
        if self._done < WARM_UP + self._steps:
            return False
        synchronize(self._device)
        self.seconds, self.waited = time.perf_counter() - self._started, waited_so_far - self._waited
        return True


class Finished(Exception):
    """Ends our epoch, as a signal would."""


def ours(config: TrainConfig, watch: Stopwatch) -> None:
    """Our own training epoch, between its first step and the last one that is timed."""
    assert config.data is not None
    trainer = build_trainer(config, choose_data(config.data), None, lambda _: None)

    def after_step() -> None:
        if watch.step(trainer.train_loader.seconds_waited):
            raise Finished

    try:
        trainer.train_epoch(lambda _: None, after_step)
    except Finished:
        return
    raise AssertionError("the data did not last for all steps")


def timms(config: TrainConfig, watch: Stopwatch) -> None:
    """The loop of timm's training script, for the same options."""
    import timm
    from timm.data import FastCollateMixup, create_dataset, create_loader
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import ModelEmaV3

    device = resolve_device(config.device)
    dataset = create_dataset("", root=f"{config.data}/train")
    classes = len(list_class_folders(Path(f"{config.data}/train")).images.class_names)
    model = timm.create_model(f"fastvit_{config.variant}", num_classes=classes, drop_path_rate=config.drop_path)
    model = model.to(device)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt=config.opt, lr=config.lr, weight_decay=config.weight_decay)
    average = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True)
    forward = torch.compile(model) if config.compile else model
    mixing = FastCollateMixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        prob=config.mixup_prob,
        switch_prob=config.mixup_switch_prob,
        label_smoothing=config.label_smoothing,
        num_classes=classes,
    )
    loader = create_loader(
        dataset,
        input_size=(3, config.img_size, config.img_size),
        batch_size=config.batch_size,
        is_training=True,
        use_prefetcher=True,
        interpolation="random",
        auto_augment=config.auto_augment,
        hflip=config.hflip,
        color_jitter=config.color_jitter,
        scale=(config.min_scale, 1.0),
        re_prob=config.random_erasing,
        re_mode="pixel",
        mean=model.default_cfg["mean"],
        std=model.default_cfg["std"],
        num_workers=resolve_workers(config.workers),
        collate_fn=mixing,
        pin_memory=device.type == "cuda",
        device=device,
    )
    loss_of = SoftTargetCrossEntropy()
    model.train()
    waited, waiting_since = 0.0, time.perf_counter()
    for number, (images, targets) in enumerate(loader):
        waited += time.perf_counter() - waiting_since
        if config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.amp):
            loss = loss_of(forward(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(model, step=number)
        if watch.step(waited):
            assert bool(loss.isfinite())
            return
        waiting_since = time.perf_counter()
    raise AssertionError("the data did not last for all steps")


def measure(side: str, config: TrainConfig, steps: int) -> Measured:
    """One subject in this process."""
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    reset_peak_memory(device)
    watch = Stopwatch(device, steps)
    (ours if side == OURS else timms)(config, watch)
    memory = peak_memory_mb(device)
    assert memory is not None
    return Measured(steps * config.batch_size / watch.seconds, watch.waited / watch.seconds, memory)


def rounds(subjects: dict[str, tuple[str, TrainConfig]], count: int, steps: int) -> dict[str, list[Measured]]:
    """Every subject once a round, each in a process of its own; every other round in reverse."""
    console = Console(stderr=True, highlight=False)
    found: dict[str, list[Measured]] = {name: [] for name in subjects}
    for turn in range(count):
        for name, (side, config) in list(subjects.items())[:: -1 if turn % 2 else 1]:
            words = [sys.executable, __file__, "--subject", side, "--steps", str(steps)]
            done = subprocess.run(
                [*words, "--config", json.dumps(asdict(config))], check=True, stdout=subprocess.PIPE, text=True
            )
            one = Measured(**json.loads(done.stdout.splitlines()[-1]))
            found[name].append(one)
            console.print(f"round {turn + 1} of {count}, {name}: {one.images_per_second:.1f} images/s")
    return found


def table(title: str, found: dict[str, list[Measured]]) -> Table:
    """Median and range of each figure; ratios to the fastest of timm's subjects of the same round."""
    peers = [name for name in found if name.startswith(TIMMS)]
    best = [
        max(together, key=lambda one: one.images_per_second)
        for together in zip(*(found[name] for name in peers), strict=True)
    ]
    rows = []
    for name, every in found.items():
        rates = [one.images_per_second / peer.images_per_second for one, peer in zip(every, best, strict=True)]
        memory = [one.peak_mb / peer.peak_mb for one, peer in zip(every, best, strict=True)]
        rows.append(
            (
                name,
                _spread([one.images_per_second for one in every], ".1f"),
                _spread(rates, ".2f"),
                f"{100 * statistics.median(one.data_wait for one in every):.0f}",
                _spread([one.peak_mb for one in every], ".0f"),
                _spread(memory, ".2f"),
            )
        )
    columns = ("", "images/s", "× timm's best", "wait %", "peak MiB", "× that one's")
    return data_table(columns, rows, title=title)


def _spread(values: list[float], style: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{style}} ({low:{style}}-{high:{style}})"


def enough_images(data: Path | None, into: Path, at_least: int) -> Path:
    """Class folders with so many training images: links to `data`'s, or the demo's enlarged to photos."""
    root = choose_data("demo" if data is None else str(data)).root
    assert root is not None
    folders = [path for path in sorted((root / "train").iterdir()) if path.is_dir()]
    for folder in folders:
        files = sorted(path.resolve() for path in folder.iterdir())
        if data is None:
            files = [_enlarged(path, into / "photos" / folder.name) for path in files[:30]]
        for split, count in (("train", -(-at_least // len(folders))), ("val", 1)):
            links = into / split / folder.name
            links.mkdir(parents=True)
            for number, path in zip(range(count), itertools.cycle(files), strict=False):
                (links / f"{number}{path.suffix}").symlink_to(path)
    return into


def _enlarged(path: Path, folder: Path) -> Path:
    """The same picture as a JPEG as large as a photo of ImageNet."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / f"{path.stem}.jpg"
    with Image.open(path) as image:
        image.resize(PHOTO, Image.Resampling.BICUBIC).save(photo, quality=90)
    return photo


def subjects(base: TrainConfig) -> dict[str, tuple[str, TrainConfig]]:
    """Both sides in every mode of the device."""
    if resolve_device(base.device).type != "cuda":
        return {TIMMS: (TIMMS, base), OURS: (OURS, base)}
    fast = replace(base, amp=True, channels_last=True)
    return {
        f"{side}{', compiled' if compiled else ''}": (side, replace(fast, compile=compiled))
        for compiled in (False, True)
        for side in (TIMMS, OURS)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=["t8", "sa24"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, help="256 on CUDA, else 16")
    parser.add_argument("--img-size", type=int, default=256)
    parser.add_argument("--data", type=Path, help="folder with train/ and val/")
    parser.add_argument("--subject", choices=(OURS, TIMMS), help=argparse.SUPPRESS)
    parser.add_argument("--config", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subject:
        print(json.dumps(asdict(measure(arguments.subject, TrainConfig(**arguments.config), arguments.steps))))  # noqa: T201  # to the other process
        return
    console, device = Console(width=120), resolve_device("auto")
    batch_size = arguments.batch_size or (256 if device.type == "cuda" else 16)
    with tempfile.TemporaryDirectory() as place:
        data = enough_images(arguments.data, Path(place), (WARM_UP + arguments.steps) * batch_size)
        for name in arguments.variants:
            variant = get_variant(name).name
            wanted = {
                "variant": variant,
                "data": str(data),
                "device": str(device),
                "img_size": arguments.img_size,
                "batch_size": batch_size,
                "total_batch_size": batch_size,
                "amp": False,
            }
            config = resolve_config(wanted, "imagenet")
            mode = "bf16, channels last" if device.type == "cuda" else "fp32"
            title = f"fastvit_{variant}, {config.img_size} px, batches of {batch_size}, {mode}, {device}, "
            title += f"{resolve_workers(None)} workers, {torch.get_num_threads()} threads, torch {torch.__version__}"
            console.print(table(title, rounds(subjects(config), arguments.rounds, arguments.steps)))


if __name__ == "__main__":
    main()
