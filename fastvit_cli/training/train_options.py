"""Options of `fastvit train`."""

import functools
from dataclasses import dataclass

from fastvit_cli.data.data_options import RANDOM, DataConfig
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.variants import get_variant
from fastvit_cli.options import (
    AUTO_NUMBER,
    MAX_IMG_SIZE,
    PANEL_DATA,
    PANEL_MODEL,
    PANEL_OUTPUT,
    ModelConfig,
    flag_of,
    option,
    output_option,
    processes_option,
    trust_option,
)
from fastvit_cli.training.recipe_files import RECIPES

PANEL_TRAINING = "Training"
PANEL_AUGMENTATION = "Augmentation"
PANEL_DISTRIBUTED = "Several devices"
PANEL_DISTILLATION = "Distillation"
NO_POLICY = "none"
CLASS_WEIGHTS = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}
DISTILLATION_TYPES = ("hard", "soft", "none")
_recipe_option = functools.partial(option, default_text="the recipe's")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ModelConfig, DataConfig):
    """See the help texts. A `config.yaml` of a run folder holds the same names."""

    variant: str = option(
        "t8",
        "FastViT variant: t8, t12, s12, sa12, sa24, sa36, ma36, mci0, mci1 or mci2.",
        panel=PANEL_MODEL,
        metavar="NAME",
    )
    ckpt: str | None = option(
        None,
        "Weights to start from: a file, run folder, hf-hub:org/name or latest. Another number of classes gets a "
        "new head.",
        panel=PANEL_MODEL,
        metavar="FILE",
        default_text="none, random weights",
    )
    output: str | None = output_option("Run folder to create.", default_text="runs/train/<date>-<time>-<variant>")
    config: str | None = option(
        None, "YAML file with any of these options, such as a run's config.yaml.", panel=PANEL_OUTPUT, metavar="FILE"
    )
    resume: str | None = option(
        None,
        "Go on with a stopped run, bit for bit, from where its state was saved; bare --resume means the latest run.",
        panel=PANEL_OUTPUT,
        metavar="RUN",
    )
    recipe: str | None = option(
        None,
        f"Values for what neither the command line nor --config sets: {', '.join(RECIPES[:-1])} or {RECIPES[-1]}.",
        panel=PANEL_TRAINING,
        metavar="NAME",
        choices=RECIPES,
        default_text="frozen with --freeze-backbone, demo, finetune with weights to start from, else scratch",
    )
    dry_run: bool = option(
        False,
        "Show every option, the steps, the learning rates and the estimated memory, read one batch, and stop.",
        panel=PANEL_OUTPUT,
    )
    wandb: str | None = option(
        None,
        "Weights & Biases project to report to; bare --wandb means fastvit.",
        panel=PANEL_OUTPUT,
        metavar="PROJECT",
        default_text="none",
    )
    save_every: float = option(
        5.0,
        "Minutes between saves of the state within an epoch; 0 saves after every step.",
        panel=PANEL_OUTPUT,
        minimum=0.0,
    )
    time_limit: float | None = option(
        None,
        "Minutes after which to save the state and end; --resume goes on.",
        panel=PANEL_TRAINING,
        minimum=0.0,
        default_text="none",
    )
    patience: int | None = option(
        None,
        "Epochs without a better top-1 after which to end.",
        panel=PANEL_TRAINING,
        minimum=1,
        default_text="none",
    )
    img_size: int = option(
        256,
        "Input side in pixels, best a multiple of 32.",
        panel=PANEL_DATA,
        minimum=32,
        maximum=MAX_IMG_SIZE,
        default_text="256, demo 64",
    )
    val_split: float = option(
        0.2,
        "Share of each class that is held out for validation where --data has class folders and no splits.",
        panel=PANEL_DATA,
        minimum=0.01,
        maximum=0.9,
    )
    crop_pct: float | None = option(
        None,
        "Share of the resized image that the evaluation crop keeps.",
        panel=PANEL_DATA,
        minimum=0.1,
        maximum=1.0,
        default_text="the variant's, .90 or .95; demo 1.0",
    )
    exif: bool = _recipe_option(
        True, "Turn images upright by their EXIF orientation; the model's file remembers it.", panel=PANEL_DATA
    )
    epochs: int = _recipe_option(100, "Passes over the training images.", panel=PANEL_TRAINING, minimum=1)
    updates: int | None = _recipe_option(
        None,
        "Updates after which the run ends with its epoch; not before 10 epochs, and not after --epochs.",
        panel=PANEL_TRAINING,
        minimum=1,
    )
    batch_size: int = _recipe_option(
        64, "Images at once; auto tries which is the largest that fits.", panel=PANEL_TRAINING, minimum=2, auto=True
    )
    total_batch_size: int | None = option(
        None,
        "Images an update, over all processes; what they do not hold at once is accumulated.",
        panel=PANEL_TRAINING,
        minimum=2,
        default_text="--batch-size times the processes, or the recipe's",
    )
    nproc_per_node: int | None = processes_option(PANEL_DISTRIBUTED)
    sync_bn: bool = option(False, "BatchNorm over the batches of all processes; CUDA only.", panel=PANEL_DISTRIBUTED)
    teacher: str | None = option(
        None,
        "Model to learn from: a timm name such as regnety_160.deit_in1k, a checkpoint, run folder or exported file.",
        panel=PANEL_DISTILLATION,
        metavar="NAME|FILE",
        default_text="none, or the recipe's",
    )
    trust: bool = trust_option()
    distillation_type: str = _recipe_option(
        "hard",
        "hard: the class the teacher names; soft: its probabilities; none: labels alone.",
        panel=PANEL_DISTILLATION,
        choices=DISTILLATION_TYPES,
    )
    distillation_alpha: float = _recipe_option(
        0.5, "Share of the teacher in the loss.", panel=PANEL_DISTILLATION, minimum=0.0, maximum=1.0
    )
    distillation_tau: float = option(1.0, "Temperature of soft distillation.", panel=PANEL_DISTILLATION, minimum=0.01)
    # Over all nodes; not typed, but found by the command, and saved because a resumed run must have as many.
    world_size: int = 1
    lr: float = _recipe_option(1e-3, "Peak learning rate of AdamW.", panel=PANEL_TRAINING, minimum=0.0)
    min_lr: float = _recipe_option(1e-5, "Learning rate at the end of the cosine.", panel=PANEL_TRAINING, minimum=0.0)
    warmup_epochs: float = _recipe_option(
        5.0, "Epochs of linear warm-up, at most a fifth of the run.", panel=PANEL_TRAINING, minimum=0.0
    )
    warmup_lr: float = _recipe_option(
        1e-6, "Learning rate that the warm-up starts from.", panel=PANEL_TRAINING, minimum=0.0
    )
    cooldown_epochs: int = _recipe_option(
        0, "Last epochs of the run, spent at --min-lr.", panel=PANEL_TRAINING, minimum=0
    )
    weight_decay: float = _recipe_option(
        0.05, "On parameters of two or more dimensions.", panel=PANEL_TRAINING, minimum=0.0
    )
    weight_decay_end: float | None = option(
        None,
        "Weight decay at the end of a cosine over the run.",
        panel=PANEL_TRAINING,
        minimum=0.0,
        default_text="constant",
    )
    decay_layer_scale: bool = option(True, "Decay the layer scales too, as the reference does.", panel=PANEL_TRAINING)
    layer_decay: float | None = option(
        None,
        "Learning rate of each layer relative to the next one, such as 0.75 for fine-tuning.",
        panel=PANEL_TRAINING,
        minimum=0.0,
        maximum=1.0,
        default_text="none",
    )
    opt: str = option(
        "adamw", "Optimizer, by timm's name: adamw, sgd, lamb, lion …", panel=PANEL_TRAINING, metavar="NAME"
    )
    class_weights: str = _recipe_option(
        "none",
        "balanced makes every class count the same, whatever its number of images; sqrt is half-way.",
        panel=PANEL_TRAINING,
        choices=tuple(CLASS_WEIGHTS),
    )
    bce: bool = option(False, "Binary cross-entropy, one yes or no a class.", panel=PANEL_TRAINING)
    bce_threshold: float | None = option(
        None,
        "Mixed targets above it count as 1, others as 0; with --bce.",
        panel=PANEL_TRAINING,
        minimum=0.0,
        maximum=1.0,
        default_text="targets as they are",
    )
    label_smoothing: float = _recipe_option(
        0.1, "Share spread over the other classes.", panel=PANEL_TRAINING, minimum=0.0, maximum=0.99
    )
    drop_path: float = _recipe_option(
        0.0, "Stochastic depth of the last block, growing linearly from 0.", panel=PANEL_TRAINING, minimum=0.0
    )
    ema_decay: float = _recipe_option(
        0.9995,
        "Moving average of the weights, with warm-up; 0 for none.",
        panel=PANEL_TRAINING,
        minimum=0.0,
        maximum=0.99999,
    )
    clip_grad: float | None = option(
        None,
        "Largest gradient, measured as --clip-mode says.",
        panel=PANEL_TRAINING,
        minimum=0.0,
        default_text="not clipped",
    )
    clip_mode: str = option(
        "norm",
        "norm of all gradients, value of each, or agc (adaptive, relative to the weights).",
        panel=PANEL_TRAINING,
        choices=("norm", "value", "agc"),
    )
    freeze_backbone: bool = _recipe_option(
        False,
        "Train the classifier alone; the only way to train from a fused file.",
        panel=PANEL_TRAINING,
    )
    feature_views: int = _recipe_option(
        0,
        "Views of each image whose features a frozen backbone computes once: the first as validation sees it, others "
        "augmented; 0 computes augmented ones anew in each epoch.",
        panel=PANEL_TRAINING,
        minimum=0,
    )
    amp: bool = _recipe_option(
        False,
        "Compute in bfloat16 where it is safe; in float16 with a gradient scaler on GPUs that lack it.",
        panel=PANEL_TRAINING,
    )
    tf32: bool = option(
        True, "Multiply float32 numbers of CUDA devices with 10 bits of mantissa: faster.", panel=PANEL_TRAINING
    )
    grad_checkpointing: bool = option(
        False,
        "Compute the inside of the blocks again in the backward pass instead of keeping it: less memory, slower.",
        panel=PANEL_TRAINING,
    )
    compile: bool = option(False, "Compile the network with torch.compile.", panel=PANEL_TRAINING)
    channels_last: bool = option(False, "Keep channels last in memory; GPUs only.", panel=PANEL_TRAINING)
    min_scale: float = _recipe_option(
        0.08, "Smallest share of the area a random crop keeps.", panel=PANEL_AUGMENTATION, minimum=0.0, maximum=1.0
    )
    hflip: float = _recipe_option(
        0.5, "Probability of a mirror image.", panel=PANEL_AUGMENTATION, minimum=0.0, maximum=1.0
    )
    auto_augment: str = _recipe_option(
        "rand-m9-mstd0.5-inc1", "timm policy, or none.", panel=PANEL_AUGMENTATION, metavar="POLICY"
    )
    train_interpolation: str = _recipe_option(
        RANDOM,
        "Filter that training crops are resized with; random draws one of the two for each image.",
        panel=PANEL_AUGMENTATION,
        choices=(RANDOM, "bilinear", "bicubic"),
    )
    color_jitter: float = _recipe_option(
        0.4,
        "Strength of brightness, contrast and saturation changes where there is no policy.",
        panel=PANEL_AUGMENTATION,
        minimum=0.0,
    )
    mixup: float = _recipe_option(0.2, "Mixup alpha; 0 for none.", panel=PANEL_AUGMENTATION, minimum=0.0)
    cutmix: float = _recipe_option(1.0, "CutMix alpha; 0 for none.", panel=PANEL_AUGMENTATION, minimum=0.0)
    mixup_prob: float = option(
        1.0, "Probability that a batch is mixed.", panel=PANEL_AUGMENTATION, minimum=0.0, maximum=1.0
    )
    mixup_switch_prob: float = option(
        0.5,
        "Probability of cutmix rather than mixup, where both are on.",
        panel=PANEL_AUGMENTATION,
        minimum=0.0,
        maximum=1.0,
    )
    mixup_off_epoch: int = option(
        0, "Epoch from which on nothing is mixed, counted from 1; 0 for never.", panel=PANEL_AUGMENTATION, minimum=0
    )
    random_erasing: float = _recipe_option(
        0.25, "Probability of erasing a rectangle.", panel=PANEL_AUGMENTATION, minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        get_variant(self.variant)
        if self.lr == 0:
            raise FastViTError("--lr 0 never learns.", "Pass a rate above 0, such as 0.001.")
        if self.clip_grad == 0:
            raise FastViTError(
                "--clip-grad 0 scales every gradient to 0 and never learns.",
                "Leave it out for none, or pass a value above 0, such as 1.",
            )
        if self.min_lr > self.lr:
            raise FastViTError(f"--min-lr {self.min_lr:g} is above --lr {self.lr:g}.", "Pass a smaller --min-lr.")
        at_once, total = self.batch_size * self.world_size, self.total_batch_size
        if total is not None and self.batch_size != AUTO_NUMBER and total % at_once:
            processes = f" in {self.world_size} processes" if self.world_size > 1 else ""
            raise FastViTError(
                f"--total-batch-size {total} is no multiple of --batch-size {self.batch_size}{processes}.",
                f"Pass --total-batch-size {-(-total // at_once) * at_once}.",
            )
        if self.layer_decay == 0:
            raise FastViTError(
                "--layer-decay 0 trains the head alone.", "Pass a share such as 0.75, or say --freeze-backbone."
            )
        self._check_dependent()
        if self.grad_checkpointing and (self.compile or self.freeze_backbone):
            other = "--compile" if self.compile else "--freeze-backbone"
            reason = (
                "decides by itself what is computed again" if self.compile else "needs no backward pass in the blocks"
            )
            raise FastViTError(f"{other} {reason}.", f"Leave out --grad-checkpointing, or {other}.")
        if self.cooldown_epochs >= self.epochs:
            raise FastViTError(
                f"--cooldown-epochs {self.cooldown_epochs} leaves none of the {self.epochs} epochs.",
                "Pass fewer, or more --epochs.",
            )
        if (self.mixup or self.cutmix) and self.batch_size != AUTO_NUMBER and self.batch_size % 2:
            raise FastViTError(
                f"Mixup and cutmix pair the images of a batch, and --batch-size {self.batch_size} is odd.",
                f"Pass --batch-size {self.batch_size + 1}, or --mixup 0 --cutmix 0.",
            )

    def _check_dependent(self) -> None:
        """Refuse what has no effect without another option."""
        mixes = bool(self.mixup or self.cutmix)
        for name, other, is_on in (
            ("bce_threshold", "--bce", self.bce),
            ("clip_mode", "--clip-grad", self.clip_grad is not None),
            ("feature_views", "--freeze-backbone", self.freeze_backbone),
            ("distillation_type", "--teacher", self.teacher is not None),
            ("distillation_alpha", "--teacher", self.teacher is not None),
            ("distillation_tau", "--teacher", self.teacher is not None),
            ("mixup_prob", "--mixup or --cutmix", mixes),
            ("mixup_off_epoch", "--mixup or --cutmix", mixes),
        ):
            if not is_on and getattr(self, name) != getattr(TrainConfig, name):
                raise FastViTError(
                    f"{flag_of(name)} is about {other}, which is off.", f"Pass {other} too, or leave it out."
                )

    @property
    def accumulation(self) -> int:
        """Batches of one process an update."""
        at_once = self.batch_size * self.world_size
        return (self.total_batch_size or at_once) // at_once

    @property
    def keeps_features(self) -> bool:
        """Whether a frozen backbone's features are computed once: where no step changes its images anew."""
        mixes = bool(self.mixup or self.cutmix or self.random_erasing)
        return self.freeze_backbone and self.feature_views > 0 and not (mixes or self.distils or self.world_size > 1)

    @property
    def distils(self) -> bool:
        """Whether a teacher takes part."""
        return self.teacher is not None and self.distillation_type != "none"

    @property
    def effective_batch_size(self) -> int:
        """Images an update, over all processes."""
        return self.batch_size * self.world_size * self.accumulation
