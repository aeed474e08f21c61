"""The family table: looking variants up, the error for a wrong name, and the preprocessing each row implies."""

from __future__ import annotations

import itertools

import pytest
from helpers.golden import facts

from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing, default_preprocessing
from fastvit_cli.models.variants import VARIANTS, Variant, get_variant

PUBLISHED = [VARIANTS[name] for name in facts()["state_dicts"]]  # those of the FastViT paper


def test_the_family_is_the_references_and_mobileclips() -> None:
    assert list(VARIANTS) == [*facts()["state_dicts"], "mci0", "mci1", "mci2"]


@pytest.mark.parametrize("name", ["sa24", "fastvit_sa24", "fastvit-sa24", "SA24", " FastViT_SA24 "])
def test_spellings(name: str) -> None:
    assert get_variant(name) is VARIANTS["sa24"]


@pytest.mark.parametrize(
    ("name", "meant"), [("sa42", "sa24"), ("fastvit_t88", "t8"), ("m36", "ma36"), ("sa 36", "sa36")]
)
def test_unknown_variant_names_the_closest_and_all(name: str, meant: str) -> None:
    with pytest.raises(FastViTError) as caught:
        get_variant(name)
    assert caught.value.message == f"There is no FastViT variant '{name}'."
    assert f"Did you mean '{meant}'?" in caught.value.hint
    assert all(variant in caught.value.hint for variant in VARIANTS)


@pytest.mark.parametrize("name", ["resnet50", ""])
def test_a_name_like_none_of_them_suggests_none(name: str) -> None:
    with pytest.raises(FastViTError) as caught:
        get_variant(name)
    assert "Did you mean" not in caught.value.hint


@pytest.mark.parametrize("variant", PUBLISHED, ids=lambda variant: variant.name)
def test_rows_are_plausible(variant: Variant) -> None:
    """Typing slips that would show in no computation: each relation holds in the published tables."""
    assert variant.params_fused < variant.params
    assert 76 <= variant.top1 < variant.top1_distilled <= 85
    assert 0 <= variant.drop_path_distilled <= variant.drop_path < 0.5
    assert variant.embedding_dim == 2 * variant.widths[3]


def test_larger_variants_are_better_and_slower() -> None:
    for small, large in itertools.pairwise(PUBLISHED):
        assert small.params < large.params
        assert small.top1 < large.top1
        assert small.top1_distilled < large.top1_distilled
        assert small.latency_ms < large.latency_ms


def test_default_preprocessing() -> None:
    crops = {variant.name: default_preprocessing(variant).crop_pct for variant in PUBLISHED}
    assert crops == {name: 0.95 if name in ("sa36", "ma36") else 0.9 for name in crops}
    sa24 = default_preprocessing(VARIANTS["sa24"])
    assert (sa24.img_size, sa24.interpolation) == (256, "bicubic")
    assert sa24.mean == (0.485, 0.456, 0.406)
    assert sa24.std == (0.229, 0.224, 0.225)
    assert default_preprocessing(VARIANTS["sa36"], 384) == Preprocessing(img_size=384, crop_pct=0.95)


def test_preprocessing_at_another_size() -> None:
    preprocessing = Preprocessing(img_size=320, crop_pct=1.0)
    assert preprocessing.at_size(None) is preprocessing
    assert preprocessing.at_size(384) == Preprocessing(img_size=384, crop_pct=1.0)


def test_image_below_the_total_stride() -> None:
    assert Preprocessing(img_size=32).img_size == 32
    with pytest.raises(FastViTError, match="31 px is below the network's total stride of 32"):
        Preprocessing(img_size=31)


@pytest.mark.parametrize("crop", [0.0, -0.5, 1.01, float("nan")])
def test_crop_out_of_range(crop: float) -> None:
    with pytest.raises(FastViTError, match="crop_pct"):
        Preprocessing(crop_pct=crop)
