"""Building a network by the name of its variant."""

from fastvit_cli.errors import FastViTError
from fastvit_cli.models.network import FastViT
from fastvit_cli.models.variants import get_variant


def create_model(
    variant: str, *, num_classes: int = 1000, drop_path_rate: float = 0.0, fused: bool = False
) -> FastViT:
    """Build a FastViT with random weights.

    Args:
        variant: `sa24` or `fastvit_sa24`.
        num_classes: classes of the head; 0 returns the pooled embedding (B, 2 * last width).
        drop_path_rate: stochastic depth of the last block, 0 <= rate < 1.
        fused: build the inference form (single convolutions), for loading fused weights.

    Raises:
        FastViTError: unknown variant or a value out of range.
    """
    if num_classes < 0:
        raise FastViTError(f"num_classes is {num_classes}.", "Pass 0 for the embedding, else the number of classes.")
    if not 0.0 <= drop_path_rate < 1.0:
        raise FastViTError(f"drop_path_rate is {drop_path_rate}.", "Pass a rate from 0 to below 1.")
    return FastViT(get_variant(variant), num_classes, drop_path_rate, fused)
