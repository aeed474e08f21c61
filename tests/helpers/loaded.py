"""Small models with weights that matter everywhere, as a command would have loaded them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from helpers.golden import draw
from helpers.modules import damped, randomized
from torch import Tensor

from fastvit_cli.checkpoints.keymaps import native_to_reference
from fastvit_cli.checkpoints.layouts import Layout
from fastvit_cli.checkpoints.load import LoadedModel, from_tensors, load_checkpoint
from fastvit_cli.checkpoints.metadata import ModelInfo
from fastvit_cli.checkpoints.save import save_checkpoint
from fastvit_cli.models.factory import create_model
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.preprocessing import Preprocessing
from fastvit_cli.models.variants import get_variant

SIZE = 64
PLACE = "/home/somebody"  # what no exported file tells
CLASS_NAMES = ("ant", "bee", "cow", "dog", "emu")
# Different for every channel, so that a mixed-up or missing one shows.
PREPROCESSING = Preprocessing(img_size=SIZE, crop_pct=0.8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.1))


def loaded_model(variant: str, class_names: tuple[str, ...] | None = CLASS_NAMES) -> LoadedModel:
    """An unfused model of five classes at 64 px without a file; weights drawn by the rule of tests/golden."""
    attention = get_variant(variant).attention
    shapes = create_model(variant, num_classes=len(CLASS_NAMES)).state_dict()
    tensors = {key: draw(native_to_reference(key, attention), tuple(value.shape)) for key, value in shapes.items()}
    loaded = from_tensors(tensors, "the test model")
    info = replace(
        loaded.info,
        preprocessing=PREPROCESSING,
        class_names=class_names,
        data="demo",
        epoch=3,
        top1=61.5,
        recipe={"lr": 1e-3, "mixup": [0.2, 1.0]},
    )
    return replace(loaded, info=info)


def tiny_model(width: int = 32, class_names: tuple[str, ...] = CLASS_NAMES) -> LoadedModel:
    """A network with every kind of block, one a stage and as narrow as that, that exports in a moment."""
    variant = replace(get_variant("sa12"), depths=(1, 1, 1, 1), widths=(width,) * 4, mlp_ratio=2)
    network = damped(randomized(FastViT(variant, num_classes=len(class_names)))).float()
    info = ModelInfo("sa12", "unfused", len(class_names), PREPROCESSING, class_names=class_names, data="demo")
    return LoadedModel(network, info, Layout("native", "unfused", variant, len(class_names)), None)


def saved_model(path: Path, variant: str = "t8") -> LoadedModel:
    """The same, from a file of ours."""
    loaded = loaded_model(variant)
    save_checkpoint(path, loaded.network, loaded.info)
    return load_checkpoint(path)


def with_paths(loaded: LoadedModel) -> LoadedModel:
    """The same, as training on a folder of its user's leaves it."""
    paths = {"data": f"{PLACE}/photos", "class_map": f"{PLACE}/map.txt", "teacher": f"{PLACE}/teacher.onnx"}
    recipe = {**loaded.info.recipe, **paths}
    return replace(loaded, info=replace(loaded.info, data=paths["data"], recipe=recipe))


def pixels(count: int, size: int = SIZE, seed: int = 1) -> Tensor:
    """Smooth images (count, 3, size, size), uint8, unlike the noise that checks make themselves."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (smooth * 255).round().to(torch.uint8)
