"""Published weights, without a network: names, scores, and what happens when a download fails."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from helpers.program import run

from fastvit_cli.checkpoints.hub import DEFAULT_TAG, MOBILECLIP_TAG, TAGS, HubModel, load_hub, published_model
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import VARIANTS

real_create_model = timm.create_model


PUBLISHED = [(name, tag) for name in VARIANTS for tag in ([MOBILECLIP_TAG] if name.startswith("mci") else TAGS)]


@pytest.mark.parametrize(("variant", "tag"), PUBLISHED)
def test_timm_knows_every_published_model(variant: str, tag: str) -> None:
    name = published_model(variant, tag).timm_name
    assert name == f"fastvit_{variant}.{tag}"
    assert name in timm.list_pretrained("fastvit_*")


def test_published_top1() -> None:
    assert published_model("t8", DEFAULT_TAG).published_top1 == 77.2
    assert published_model("fastvit_t8", "apple_in1k").published_top1 == 76.2
    assert HubModel("hf-hub:timm/fastvit_t8.apple_in1k").published_top1 == 76.2
    assert published_model("mci0", MOBILECLIP_TAG).published_top1 is None
    for unknown in ("hf-hub:someone/fastvit_t8.apple_in1k", "fastvit_t8", "fastvit_t8.mine", "resnet50.a1_in1k"):
        assert HubModel(unknown).published_top1 is None


def test_unknown_tag_or_variant() -> None:
    with pytest.raises(FastViTError, match="tagged 'in22k'") as caught:
        published_model("t8", "in22k")
    assert all(tag in caught.value.hint for tag in TAGS)
    with pytest.raises(FastViTError, match=f"weights of mci1 tagged '{DEFAULT_TAG}'") as caught:
        published_model("mci1", DEFAULT_TAG)
    assert caught.value.hint == f"Pass one of: {MOBILECLIP_TAG}."
    with pytest.raises(FastViTError, match="no FastViT variant 't9'"):
        published_model("t9", DEFAULT_TAG)


def offline(monkeypatch: pytest.MonkeyPatch, architecture: str) -> list[tuple[str, Any]]:
    """timm with random weights instead of a download; returns what it was asked for."""
    asked: list[tuple[str, Any]] = []

    def create(name: str, pretrained: bool = False) -> torch.nn.Module:
        asked.append((name, pretrained))
        torch.manual_seed(0)
        model: torch.nn.Module = real_create_model(architecture, num_classes=10)
        return model

    monkeypatch.setattr(timm, "create_model", create)
    return asked


def test_download(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = offline(monkeypatch, "fastvit_t8.apple_dist_in1k")
    loaded = load_hub(published_model("t8", DEFAULT_TAG))
    assert asked == [("fastvit_t8.apple_dist_in1k", True)]
    assert (loaded.layout.naming, loaded.layout.form, loaded.info.num_classes) == ("native", "unfused", 10)
    assert loaded.info.preprocessing.img_size == 256
    assert loaded.info.preprocessing.interpolation == "bicubic"
    assert not loaded.network.training
    torch.manual_seed(0)
    expected = real_create_model("fastvit_t8", num_classes=10).state_dict()
    actual = loaded.network.state_dict()
    assert all(torch.equal(actual[key], value) for key, value in expected.items())


def test_crop_is_the_references_where_timm_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, "fastvit_sa36.apple_dist_in1k")
    assert load_hub(published_model("sa36", DEFAULT_TAG)).info.preprocessing.crop_pct == 0.95
    assert load_hub(HubModel("hf-hub:timm/fastvit_sa36.apple_dist_in1k")).info.preprocessing.crop_pct == 0.95


def test_crop_of_anybody_elses_model_is_what_its_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, "fastvit_sa36.apple_dist_in1k")
    assert load_hub(HubModel("hf-hub:somebody/sa36")).info.preprocessing.crop_pct == 0.9


def test_published_weights_of_another_variant_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offline(monkeypatch, "fastvit_t8.apple_dist_in1k")
    words = ("--ckpt", "hf-hub:timm/fastvit_t8.apple_dist_in1k", "--variant", "sa12")
    for command in ("validate", "reparam"):
        outcome = run(capsys, command, *words)
        assert outcome.code == 2
        assert "is a fastvit_t8, not a fastvit_sa12" in " ".join(outcome.err.split())


def test_preprocessing_of_mobileclip(monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, "fastvit_mci0.apple_mclip")
    loaded = load_hub(published_model("mci0", MOBILECLIP_TAG))
    assert loaded.info.preprocessing == default_preprocessing(VARIANTS["mci0"])


def test_something_else_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, "resnet18")
    with pytest.raises(FastViTError, match="'hf-hub:timm/resnet18' is no FastViT"):
        load_hub(HubModel("hf-hub:timm/resnet18"))


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("unknown model"), ValueError("bad")])
def test_no_network(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(FastViTError) as caught:
        load_hub(published_model("t8", DEFAULT_TAG))
    assert "'fastvit_t8.apple_dist_in1k' can be neither downloaded nor found" in caught.value.message
    assert "--ckpt FILE" in caught.value.hint
