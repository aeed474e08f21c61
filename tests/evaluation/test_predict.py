from pathlib import Path

import numpy as np
import torch
from helpers.evaluation_models import Colours
from PIL import Image
from torch import Tensor

from fastvit_cli.evaluation.predict import FoundImages, guess
from fastvit_cli.evaluation.validate_options import PredictConfig


class _NoNumbersForBlack(Colours):
    def logits(self, images: Tensor) -> Tensor:
        return torch.where(images.float().mean((1, 2, 3))[:, None] < 1, torch.nan, super().logits(images))


def test_an_image_without_an_answer_is_no_guess(tmp_path: Path) -> None:
    paths = []
    for name, value in (("black", 0), ("white", 255)):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(np.full((40, 40, 3), value, np.uint8)).save(paths[-1])
    config = PredictConfig(ckpt="x", images=tuple(map(str, paths)), top_k=2)
    black, white = guess(config, _NoNumbersForBlack(), FoundImages(tuple(paths), {}), "x").images
    assert (black.guesses, black.error) == ((), "the network gives NaN or infinity")
    assert (len(white.guesses), white.error) == (2, None)
