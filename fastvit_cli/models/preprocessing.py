"""How a model wants its images. Travels inside every file that is written; no command guesses it twice."""

from dataclasses import dataclass, replace

from fastvit_cli.errors import FastViTError
from fastvit_cli.models.variants import DEFAULT_IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD, Variant

TOTAL_STRIDE = 32


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation preprocessing.

    Attributes:
        img_size: side of the square input, in pixels.
        crop_pct: the shorter side is resized to img_size / crop_pct before the centre crop.
        interpolation: filter of the resize.
        mean, std: per channel, RGB, of pixel values in 0..1.
        exif: turn images upright by their EXIF orientation first; None where the file does not say.
    """

    img_size: int = DEFAULT_IMAGE_SIZE
    crop_pct: float = 0.9
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    exif: bool | None = None

    def __post_init__(self) -> None:
        if self.img_size < TOTAL_STRIDE:
            raise FastViTError(
                f"An image size of {self.img_size} px is below the network's total stride of {TOTAL_STRIDE}.",
                f"Pass --img-size {TOTAL_STRIDE} or more; multiples of {TOTAL_STRIDE} waste nothing.",
            )
        if not 0.0 < self.crop_pct <= 1.0:
            raise FastViTError(f"crop_pct is {self.crop_pct}.", "Pass a share above 0 and up to 1.")

    def at_size(self, img_size: int | None) -> "Preprocessing":
        """The same preprocessing for another input size in pixels; None keeps the size."""
        return self if img_size is None else replace(self, img_size=img_size)

    def with_exif(self, wanted: bool | None, otherwise: bool) -> "Preprocessing":
        """The same preprocessing with `exif` decided: as wanted, else as it is, else the other."""
        known = self.exif if wanted is None else wanted
        return replace(self, exif=otherwise if known is None else known)


def default_preprocessing(variant: Variant, img_size: int | None = None) -> Preprocessing:
    """The published evaluation settings of a variant."""
    return Preprocessing(crop_pct=variant.crop_pct, mean=variant.mean, std=variant.std).at_size(img_size)
