"""From a configuration to all the parts of a run."""

from collections.abc import Callable
from dataclasses import replace

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.data.images import Images
from fastvit_cli.data.loader import EVALUATION_BATCH_SIZE, ImageLoader, LoaderOptions
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.data.randomness import seed_everything
from fastvit_cli.data.sources import DataChoice, held_out_words, open_images, with_training_classes
from fastvit_cli.data.transforms import Augmentation, evaluation_transform, training_transform
from fastvit_cli.data.workers import resolve_workers
from fastvit_cli.devices import use_device
from fastvit_cli.distributed import ALONE, World
from fastvit_cli.errors import FastViTError
from fastvit_cli.training.events import ImagesListed, TrainEvent
from fastvit_cli.training.frozen_features import FeatureLoader, frozen_backbone
from fastvit_cli.training.initial_model import build_initial_model
from fastvit_cli.training.teacher import open_teacher
from fastvit_cli.training.train_options import NO_POLICY, TrainConfig
from fastvit_cli.training.trainer import Trainer

_FEW_UPDATES = 10  # an epoch


def build_trainer(
    config: TrainConfig,
    data: DataChoice,
    loaded: LoadedModel | None,
    on_event: Callable[[TrainEvent], None],
    world: World = ALONE,
) -> Trainer:
    """Open the data, build the network and all that trains it; nothing is written.

    Args:
        world: this process among those of the run; its group must be joined.

    Raises:
        FastViTError: the device, the data, the weights or an option is wrong.
    """
    device = use_device(config.device, world.local_rank, tf32=config.tf32)
    if world.size > 1 and device.type == "mps":
        raise FastViTError("Several processes cannot share Apple's GPU.", "Leave --nproc-per-node out.")
    train_images, val_images = (
        open_images(data, split, config.class_map, lambda done, total: on_event(ImagesListed(done, total)))
        for split in ("train", "val")
    )
    val_images, lacking = with_training_classes(val_images, train_images)
    few = _check_enough(config, train_images)
    seed_everything(config.seed)
    start = build_initial_model(config, loaded, train_images, data.name)
    start = replace(
        start, notes=(*start.notes, *few, *lacking, *_notes_on_images(config, data, train_images, val_images))
    )
    teacher = open_teacher(config, start.info, train_images, device) if config.distils else None
    if teacher is not None and teacher.assumed:
        start = replace(start, notes=(*start.notes, f"Teacher: {teacher.assumed}"))
    preprocessing = start.info.preprocessing
    policy = None if config.auto_augment == NO_POLICY else config.auto_augment
    augmentation = Augmentation(
        config.min_scale, config.hflip, policy, config.color_jitter, config.train_interpolation
    )
    options = LoaderOptions(
        config.img_size,
        config.batch_size,
        resolve_workers(config.workers, world.local_size, beside_gpu=device.type != "cpu"),
        training=True,
        seed=config.seed,
        max_bad_images=config.max_bad_images,
        exif=config.exif,
        pin=device.type == "cuda",
    )
    as_validated = evaluation_transform(preprocessing, config.transforms)
    changed = training_transform(preprocessing, augmentation, config.transforms)
    val_options = replace(options, batch_size=EVALUATION_BATCH_SIZE, training=False)
    val_loader = ImageLoader(val_images, as_validated, val_options, world)
    if config.keeps_features:
        backbone = frozen_backbone(start.network, start.info, device)
        views = [ImageLoader(train_images, as_validated, options)]
        if config.feature_views > 1:
            views.append(ImageLoader(train_images, changed, options))
        train_features = FeatureLoader(backbone, config.feature_views, *views)
        return Trainer(config, start, train_features, FeatureLoader(backbone, 1, val_loader), device, teacher)
    train_loader = ImageLoader(train_images, changed, options, world)
    return Trainer(config, start, train_loader, val_loader, device, teacher, world)


def _notes_on_images(config: TrainConfig, data: DataChoice, train: Images, val: Images) -> tuple[str, ...]:
    """What is held out, passed over, or computed anew where it could be kept."""
    held_out = held_out_words(data)
    anew = (
        "Features are not kept, for mixing, erasing, a teacher and several processes need the images: the frozen "
        "backbone sees them augmented in each epoch."
        if config.freeze_backbone and config.feature_views and not config.keeps_features
        else ""
    )
    passed_over = passed_over_words(train.passed_over, val.passed_over)
    return tuple(filter(None, (held_out, anew, passed_over)))


def _check_enough(config: TrainConfig, images: Images) -> tuple[str, ...]:
    """What to say of images that are few for the configuration.

    Raises:
        FastViTError: too few for a single update, or all of one class.
    """
    count, needed = len(images), config.effective_batch_size
    if len(images.class_names) == 1:
        raise FastViTError(
            f"All training images are of one class, '{images.class_names[0]}': there is nothing to tell apart.",
            "Add a folder for each other class.",
        )
    smaller = "--total-batch-size" if needed > config.batch_size else "--batch-size"
    if count < needed:
        raise FastViTError(
            f"There are {count} training images and an update takes {needed}.",
            f"Pass {smaller} {max(2, count // 4 * 2)} or add images.",
        )
    updates = count // needed
    if updates >= _FEW_UPDATES or config.keeps_features:
        return ()
    made = "update" if updates == 1 else "updates"
    return (f"An epoch of {count} images is {updates} {made} of {needed}; a smaller {smaller} makes more of them.",)
