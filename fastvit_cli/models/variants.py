"""The family as one table: what makes a FastViT a t8 or an ma36."""

from dataclasses import dataclass

from fastvit_cli.errors import FastViTError, closest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_IMAGE_SIZE = 256


@dataclass(frozen=True)
class Variant:
    """One row of the family (FastViT paper, table 1 and section 3; reference file models/fastvit.py).

    The mci rows are the image encoders of MobileCLIP (arXiv 2311.17049; its file models/mci.py).

    Attributes:
        depths: blocks in each of the four stages.
        widths: channels of each stage.
        mlp_ratio: hidden channels of the ConvFFN over the stage's channels.
        attention: whether stage 4 mixes tokens by self-attention (else RepMixer everywhere).
        layer_scale_init: value every layer scale starts from.
        crop_pct: share of the resized image kept by the evaluation crop.
        params: trainable parameters with the published head.
        params_fused: the same after the branches are fused.
        top1: published ImageNet-1k top-1 in percent, trained on labels alone; None where nothing was trained so.
        top1_distilled: the same, trained from a RegNetY-160 teacher.
        drop_path: published drop-path rate for label training.
        drop_path_distilled: the same for distillation.
        mixup: published mixup alpha for label training.
        mixup_distilled: the same for distillation.
        latency_ms: published latency on an iPhone 12 Pro, in milliseconds.
        num_classes: outputs of the published head: ImageNet's classes, or MobileCLIP's projection.
        se_stages: stages (0 to 3) whose down-sampling has a squeeze-and-excite.
        large_kernel_act: whether a GELU follows the large-kernel convolution of the down-sampling.
        mean, std: per channel, RGB, of pixel values in 0..1, as published weights expect them.
    """

    name: str
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    mlp_ratio: int
    attention: bool
    layer_scale_init: float
    crop_pct: float
    params: int
    params_fused: int
    top1: float | None = None
    top1_distilled: float | None = None
    drop_path: float | None = None
    drop_path_distilled: float | None = None
    mixup: float | None = None
    mixup_distilled: float | None = None
    latency_ms: float | None = None
    num_classes: int = 1000
    se_stages: tuple[int, ...] = ()
    large_kernel_act: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def projects(self) -> bool:
        """Whether the published head gives an embedding and no classes, as those of MobileCLIP's encoders do."""
        return self.top1 is None

    @property
    def embedding_dim(self) -> int:
        """Channels of the pooled embedding, which is what the classifier reads."""
        return 2 * self.widths[-1]


def _mobileclip(
    name: str, depths: tuple[int, int, int, int], widths: tuple[int, int, int, int], params: int, params_fused: int
) -> Variant:
    """An image encoder of MobileCLIP; they share all but their size, and were never trained on ImageNet labels."""
    return Variant(
        name,
        depths,
        widths,
        mlp_ratio=3,
        attention=True,
        layer_scale_init=1e-5,
        crop_pct=0.95,
        params=params,
        params_fused=params_fused,
        num_classes=512,
        se_stages=(2, 3),
        large_kernel_act=True,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def _table(*rows: Variant) -> dict[str, Variant]:
    return {row.name: row for row in rows}


# fmt: off
VARIANTS = _table(
    Variant("t8",   (2, 2, 4, 2),  (48, 96, 192, 384),  3, False, 1e-5, .90,  4_026_232,  3_996_040, 76.2, 77.2, .00, .00, .2, .2, 0.8),
    Variant("t12",  (2, 2, 6, 2),  (64, 128, 256, 512), 3, False, 1e-5, .90,  7_553_704,  7_508_840, 79.3, 80.3, .00, .00, .2, .2, 1.2),
    Variant("s12",  (2, 2, 6, 2),  (64, 128, 256, 512), 4, False, 1e-5, .90,  9_473_576,  9_428_712, 79.9, 81.1, .00, .00, .2, .2, 1.4),
    Variant("sa12", (2, 2, 6, 2),  (64, 128, 256, 512), 4, True,  1e-5, .90, 11_580_968, 11_545_320, 80.9, 81.9, .10, .00, .2, .8, 1.6),
    Variant("sa24", (4, 4, 12, 4), (64, 128, 256, 512), 4, True,  1e-5, .90, 21_554_216, 21_501_288, 82.7, 83.4, .10, .05, .2, .8, 2.6),
    Variant("sa36", (6, 6, 18, 6), (64, 128, 256, 512), 4, True,  1e-6, .95, 31_527_464, 31_457_256, 83.6, 84.2, .20, .10, .2, .8, 3.5),
    Variant("ma36", (6, 6, 18, 6), (76, 152, 304, 608), 4, True,  1e-6, .95, 44_068_004, 43_984_632, 83.9, 84.6, .35, .20, .8, .8, 4.6),
    _mobileclip("mci0", (2, 6, 10, 2),  (64, 128, 256, 512), 11_406_976, 11_357_504),
    _mobileclip("mci1", (4, 12, 20, 4), (64, 128, 256, 512), 21_541_632, 21_461_056),
    _mobileclip("mci2", (4, 12, 24, 4), (80, 160, 320, 640), 35_815_232, 35_702_992),
)
# fmt: on


def get_variant(name: str) -> Variant:
    """Look a variant up by `sa24` or `fastvit_sa24`, upper or lower case.

    Raises:
        FastViTError: no such variant; names the closest one and all of them.
    """
    key = name.strip().lower().removeprefix("fastvit_").removeprefix("fastvit-")
    if key not in VARIANTS:
        raise FastViTError(
            f"There is no FastViT variant '{name}'.",
            f"{closest(key, VARIANTS)}Pass one of: {', '.join(VARIANTS)}.",
        )
    return VARIANTS[key]
