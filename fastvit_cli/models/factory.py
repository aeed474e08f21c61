"""Building a network by the name of its variant."""

from collections.abc import Sequence
from typing import Literal, overload

from fastvit_cli.errors import FastViTError
from fastvit_cli.models.network import FastViT, FastViTFeatures
from fastvit_cli.models.variants import get_variant

ALL_STAGES = (0, 1, 2, 3)


@overload
def create_model(
    variant: str,
    *,
    num_classes: int | None = None,
    drop_path_rate: float = 0.0,
    fused: bool = False,
    features_only: Literal[False] = False,
) -> FastViT: ...


@overload
def create_model(
    variant: str,
    *,
    drop_path_rate: float = 0.0,
    fused: bool = False,
    features_only: Literal[True],
    out_indices: Sequence[int] = ALL_STAGES,
) -> FastViTFeatures: ...


def create_model(
    variant: str,
    *,
    num_classes: int | None = None,
    drop_path_rate: float = 0.0,
    fused: bool = False,
    features_only: bool = False,
    out_indices: Sequence[int] = ALL_STAGES,
) -> FastViT | FastViTFeatures:
    """Build a FastViT with random weights.

    Args:
        variant: `sa24` or `fastvit_sa24`.
        num_classes: outputs of the head; 0 returns the pooled embedding (B, 2 * last width), None builds the
            published head: 1000 classes, or the 512 outputs of MobileCLIP's projection.
        drop_path_rate: stochastic depth of the last block, 0 <= rate < 1.
        fused: build the inference form (single convolutions), for loading fused weights.
        features_only: build a backbone, which returns the maps of stages and has no head.
        out_indices: the stages (0 to 3, strides 4 to 32) whose maps a backbone returns.

    Raises:
        FastViTError: unknown variant or a value out of range.
    """
    if num_classes is not None and num_classes < 0:
        raise FastViTError(f"num_classes is {num_classes}.", "Pass 0 for the embedding, else the number of classes.")
    if not 0.0 <= drop_path_rate < 1.0:
        raise FastViTError(f"drop_path_rate is {drop_path_rate}.", "Pass a rate from 0 to below 1.")
    row = get_variant(variant)
    if features_only:
        _check_features(num_classes, out_indices)
        return FastViTFeatures(row, out_indices, drop_path_rate, fused)
    return FastViT(row, row.num_classes if num_classes is None else num_classes, drop_path_rate, fused)


def _check_features(num_classes: int | None, out_indices: Sequence[int]) -> None:
    if num_classes:
        raise FastViTError(
            f"features_only leaves out the head, but num_classes is {num_classes}.", "Pass one of the two."
        )
    if not out_indices or [index for index in ALL_STAGES if index in out_indices] != list(out_indices):
        raise FastViTError(
            f"out_indices is {out_indices!r}.", "Pass stages from 0 to 3 in ascending order, each once: (1, 2, 3)."
        )
