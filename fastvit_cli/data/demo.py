"""The built-in demo data set: ten shapes, drawn by this module, for a first training run without any data.

Every image shows one shape at a random place, size, stretch and angle on a coloured, textured and cluttered
ground. No class turns into another one by mirroring or rotating, so those augmentations are safe. The sizes
and counts are chosen so that a FastViT-t8 learns the set on two CPU cores within minutes at 64 px, while a
linear classifier on the pixels does not.
"""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from fastvit_cli.data.demo_drawing import DEMO_CLASSES, IMAGES_PER_CLASS, draw_image

Progress = Callable[[int, int], None]


def _is_complete(root: Path) -> bool:
    """Whether `root` holds every image of the set (counted, not read)."""
    try:
        return all(
            sum(file.suffix == ".jpg" for file in (root / split / class_name).iterdir()) == count
            for split, count in IMAGES_PER_CLASS.items()
            for class_name in DEMO_CLASSES
        )
    except OSError:
        return False


def _write_images(folder: Path, on_progress: Progress | None) -> None:
    """Draw the whole set into `folder`, on every core: Pillow and numpy release the interpreter lock."""
    from concurrent.futures import ThreadPoolExecutor

    jobs = [(s, c, i) for s, count in IMAGES_PER_CLASS.items() for c in DEMO_CLASSES for i in range(count)]
    for split, class_name, index in jobs:
        if index == 0:
            (folder / split / class_name).mkdir(parents=True)

    def write(job: tuple[str, str, int]) -> None:
        split, class_name, index = job
        # No chroma subsampling: at this size it would smear the coloured edges.
        draw_image(*job).save(folder / split / class_name / f"{index:04d}.jpg", quality=92, subsampling=0)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        try:
            for done, _ in enumerate(pool.map(write, jobs), start=1):
                if on_progress is not None:
                    on_progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # on Ctrl-C or a full disk: do not draw the rest first
            raise


def ensure_demo_dataset(root: Path | None = None, on_progress: Progress | None = None) -> Path:
    """Return the folder holding `train/` and `val/`, drawing it first when it is not there yet.

    `root` is that folder itself; without it, `demo-v1` in the user's cache folder. `on_progress` is called
    with the number of images written and their total. The set is drawn beside `root` and then renamed, so
    `root` never holds half a set, and of two processes drawing at once the first to finish wins.

    Raises FastViTError when the folder cannot be written, or already holds something else.
    """
    from fastvit_cli.errors import FastViTError

    if root is None:
        import platformdirs

        root = platformdirs.user_cache_path("fastvit") / "demo-v1"
    if _is_complete(root):
        return root
    draft = root.absolute().with_name(f".{root.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        if root.is_dir() and not any(root.iterdir()):
            root.rmdir()  # an empty folder is in nobody's way, but Windows would not rename over it
        if root.exists() and not _is_complete(root):  # complete by now: another process was faster
            raise FastViTError(
                f"{root} exists but is not a complete demo data set.",
                "Delete that folder, or move it away, and run the command again.",
            )
        draft.mkdir(parents=True)
        _write_images(draft, on_progress)
        try:
            draft.rename(root)
        except OSError:
            if not _is_complete(root):
                raise
    except OSError as error:
        raise FastViTError(
            f"Cannot write the demo data set to {root}: {error.strerror or error}.",
            "Free some space or make the folder writable, or train on your own images instead.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root
