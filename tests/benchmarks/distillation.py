"""What a teacher is worth where labels are few: a student on a tenth of the demo's labels, alone and taught.

    python tests/benchmarks/distillation.py [--teacher FILE] [--seeds 3] [--epochs 15] [--output FOLDER]

The teacher is a t8 trained on all of the demo (four minutes on two cores; --teacher takes a trained one). With one
seed every student makes the same updates on the same images in the same order: only the loss differs.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from rich.console import Console

from fastvit_cli.data.sources import DataChoice, choose_data
from fastvit_cli.training.events import EpochDone, TrainEvent
from fastvit_cli.training.resolve_options import resolve_config
from fastvit_cli.training.train import run_training
from fastvit_cli.ui.tables import data_table

SHARE = 10  # every tenth image of each class
# Mixed and cropped images: a teacher can say more of them than the label does.
AUGMENTED = {"min_scale": 0.35, "mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "workers": 1}
ARMS: dict[str, dict[str, object]] = {
    "alone": {"distillation_type": "none"},
    "taught, hard .5": {"distillation_type": "hard", "distillation_alpha": 0.5},
    "taught, soft .9 at tau 3": {"distillation_type": "soft", "distillation_alpha": 0.9, "distillation_tau": 3.0},
}


def few_labels(whole: Path, folder: Path) -> DataChoice:
    """A data set with a tenth of the training images and all of the validation images."""
    for images in sorted((whole / "train").iterdir()):
        target = folder / "train" / images.name
        target.mkdir(parents=True)
        for image in sorted(images.iterdir())[::SHARE]:
            shutil.copy(image, target)
    (folder / "val").symlink_to(whole / "val")
    return choose_data(str(folder))


def best_top1(data: DataChoice, output: Path, **options: object) -> tuple[float, Path]:
    """Train once; the best top-1 in percent, and its weights."""

    def tell(event: TrainEvent) -> None:
        if isinstance(event, EpochDone):
            Console(stderr=True).print(f"  {output.name} {event.epoch}/{event.epochs}: {event.val_top1:.2f} %")

    result = run_training(resolve_config({**options, "output": str(output)}, "demo"), data, on_event=tell)
    assert result.top1 is not None
    assert result.best_ckpt is not None
    return result.top1, result.best_ckpt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--output", type=Path, help="keep the runs here")
    arguments = parser.parse_args()
    demo = choose_data("demo")
    assert demo.root is not None
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        teacher = arguments.teacher or best_top1(demo, folder / "teacher")[1]
        data = few_labels(demo.root, Path(temporary) / "tenth")
        scores: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for seed in range(arguments.seeds):
            for arm, options in ARMS.items():
                top1, _ = best_top1(
                    data,
                    folder / f"{arm.replace(' ', '-')}-{seed}",
                    **{**AUGMENTED, **options, "teacher": str(teacher), "seed": seed, "epochs": arguments.epochs},
                )
                scores[arm].append(top1)
    rows = []
    for arm, found in scores.items():
        gains = [mine - alone for mine, alone in zip(found, scores["alone"], strict=True)]
        rows.append(
            (
                arm,
                " ".join(f"{value:.1f}" for value in found),
                f"{statistics.mean(found):.2f}",
                f"{statistics.stdev(found):.2f}" if len(found) > 1 else "",
                "" if arm == "alone" else f"{statistics.mean(gains):+.2f} ({min(gains):+.1f} to {max(gains):+.1f})",
            )
        )
    Console().print(data_table(("student", "top-1 % by seed", "mean", "std", "gain, point"), rows))


if __name__ == "__main__":
    main()
