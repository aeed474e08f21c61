"""The network a run starts from: random weights, or a checkpoint with the head it needs."""

from dataclasses import dataclass, replace

from fastvit_cli.checkpoints.load import LoadedModel
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.data.images import Images
from fastvit_cli.data.model_classes import ClassMatch, match_classes
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.fusion import fuse_all
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import get_variant
from fastvit_cli.training.resolve_options import recipe_of
from fastvit_cli.training.train_options import TrainConfig


@dataclass(frozen=True)
class Start:
    """A network to train, what will be said of it in every file, and what its user should know."""

    network: FastViT
    info: ModelInfo
    notes: tuple[str, ...]


def build_initial_model(config: TrainConfig, loaded: LoadedModel | None, images: Images, data_name: str) -> Start:
    """Build the network for the classes of these images; weights come from `loaded` where they fit.

    Raises:
        FastViTError: `loaded` is of another variant than the configuration names, or fused while the whole network
            is to be trained.
    """
    variant, class_names = get_variant(config.variant), images.class_names
    network = _blank_network(config, loaded, len(class_names))
    notes: tuple[str, ...] = ()
    if loaded is not None:
        notes = _copy_weights(network, loaded, images)
    preprocessing = loaded.info.preprocessing if loaded else default_preprocessing(variant)
    preprocessing = replace(preprocessing, exif=config.exif)
    if config.crop_pct is not None:
        preprocessing = replace(preprocessing, crop_pct=config.crop_pct)
    info = ModelInfo(
        variant=variant.name,
        form=network.form,
        num_classes=len(class_names),
        preprocessing=preprocessing.at_size(config.img_size),
        class_names=class_names,
        data=data_name,
        recipe=recipe_of(replace(config, variant=variant.name)),
    )
    return Start(network, info, notes)


def _blank_network(config: TrainConfig, loaded: LoadedModel | None, num_classes: int) -> FastViT:
    """A network of the form to train: unfused, or with a frozen backbone the form that `loaded` has."""
    form = "unfused" if loaded is None else loaded.info.form
    if form != "unfused" and not config.freeze_backbone:
        raise FastViTError(
            f"{_where(loaded)} is fused: its branches are gone, and training needs them.",
            "Pass the checkpoint it was fused from, or --freeze-backbone to train a classifier on it.",
        )
    network = create_model(
        config.variant, num_classes=num_classes, drop_path_rate=config.drop_path, fused=form != "unfused"
    )
    if form == "all":
        network = fuse_all(network)
    if config.freeze_backbone:
        network.requires_grad_(False)
        network.head.requires_grad_(True)
    return network


def _where(loaded: LoadedModel | None) -> str:
    return f"'{loaded.path}'" if loaded is not None and loaded.path is not None else "The published model"


def _copy_weights(network: FastViT, loaded: LoadedModel, images: Images) -> tuple[str, ...]:
    """Load the weights, the head only when it is for the same classes; says what was done."""
    where = _where(loaded)
    if loaded.info.variant != network.variant.name:
        raise FastViTError(
            f"{where} is a fastvit_{loaded.info.variant}, not a fastvit_{network.variant.name}.",
            f"Leave --variant out, or pass --variant {loaded.info.variant}.",
        )
    tensors = loaded.network.state_dict()
    match = same_classes(images, loaded.info)
    if match is None:
        tensors = {key: value for key, value in tensors.items() if not key.startswith("head.")}
    else:
        rows = list(match.outputs)
        tensors |= {key: value[rows] for key, value in tensors.items() if key.startswith("head.")}
    mismatch = network.load_state_dict(tensors, strict=False)
    assert not mismatch.unexpected_keys
    assert match is not None or set(mismatch.missing_keys) == {"head.fc.weight", "head.fc.bias"}
    head = (
        "its head is kept" if match is not None
        else f"a new head for {network.num_classes} classes replaces its {loaded.info.num_classes}"
        if loaded.info.num_classes
        else f"it has no head and gets one for {network.num_classes} classes"
    )  # fmt: skip
    assumed = (match.assumed,) if match is not None and match.assumed else ()
    return (f"Starts from {where}; {head}.", *assumed)


def same_classes(images: Images, model: ModelInfo) -> ClassMatch | None:
    """Where a model has the classes of these images; None unless it has just these."""
    if model.num_classes != len(images.class_names) or not model.is_classifier:
        return None
    try:
        return match_classes(images, model.num_classes, model.class_names)
    except FastViTError:
        return None
