"""Published weights, without a network: names, scores, and what happens when a download fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.hub import publish, use_cache
from helpers.program import run

from fastvit_cli.checkpoints.hub import DEFAULT_TAG, MOBILECLIP_TAG, TAGS, HubModel, load_hub, published_model
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import default_preprocessing
from fastvit_cli.models.variants import VARIANTS

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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_cache(monkeypatch, tmp_path)
    return tmp_path


def _weights(architecture: str, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = timm.create_model(architecture, **options).state_dict()
    return state


def test_download(cache: Path) -> None:
    weights = _weights("fastvit_t8", num_classes=10)
    publish(cache, "timm/fastvit_t8.apple_dist_in1k", weights, {"architecture": "fastvit_t8"})
    loaded = load_hub(published_model("t8", DEFAULT_TAG))
    assert (loaded.layout.naming, loaded.layout.form, loaded.info.num_classes) == ("native", "unfused", 10)
    assert loaded.info.preprocessing == default_preprocessing(VARIANTS["t8"])
    assert not loaded.network.training
    actual = loaded.network.state_dict()
    assert all(torch.equal(actual[key], value) for key, value in weights.items())


def test_published_weights_that_timm_has_cached_without_their_config(cache: Path) -> None:
    publish(cache, "timm/fastvit_t8.apple_in1k", _weights("fastvit_t8"), None)
    assert load_hub(published_model("t8", "apple_in1k")).info.num_classes == 1000
    publish(cache, "somebody/t8", _weights("fastvit_t8"), None)
    with pytest.raises(FastViTError, match="neither downloaded nor found"):  # its preprocessing is not known
        load_hub(HubModel("hf-hub:somebody/t8"))


def test_crop_is_the_references_where_timm_differs(cache: Path) -> None:
    config = {"architecture": "fastvit_sa36", "pretrained_cfg": {"crop_pct": 0.9}}
    publish(cache, "timm/fastvit_sa36.apple_dist_in1k", _weights("fastvit_sa36"), config)
    publish(cache, "somebody/sa36", _weights("fastvit_sa36"), config)
    assert load_hub(published_model("sa36", DEFAULT_TAG)).info.preprocessing.crop_pct == 0.95
    assert load_hub(HubModel("hf-hub:timm/fastvit_sa36.apple_dist_in1k")).info.preprocessing.crop_pct == 0.95
    assert load_hub(HubModel("hf-hub:somebody/sa36")).info.preprocessing.crop_pct == 0.9


def test_published_weights_of_another_variant_are_refused(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(cache, "timm/fastvit_t8.apple_dist_in1k", _weights("fastvit_t8"), {"architecture": "fastvit_t8"})
    words = ("--ckpt", "hf-hub:timm/fastvit_t8.apple_dist_in1k", "--variant", "sa12")
    for command in ("validate", "reparam"):
        outcome = run(capsys, command, *words)
        assert outcome.code == 2
        assert "is a fastvit_t8, not a fastvit_sa12" in " ".join(outcome.err.split())


def test_preprocessing_of_mobileclip(cache: Path) -> None:
    config = {"architecture": "fastvit_mci0", "pretrained_cfg": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}}
    publish(cache, "timm/fastvit_mci0.apple_mclip", _weights("fastvit_mci0"), config)
    loaded = load_hub(published_model("mci0", MOBILECLIP_TAG))
    assert loaded.info.preprocessing == default_preprocessing(VARIANTS["mci0"])


def test_something_else_on_the_hub(cache: Path) -> None:
    publish(cache, "timm/resnet18", _weights("resnet18"), {"architecture": "resnet18"})
    with pytest.raises(FastViTError, match="is no FastViT"):
        load_hub(HubModel("hf-hub:timm/resnet18"))


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("unknown model"), ValueError("bad")])
def test_no_network(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(FastViTError) as caught:
        load_hub(published_model("t8", DEFAULT_TAG))
    assert "'fastvit_t8.apple_dist_in1k' can be neither downloaded nor found" in caught.value.message
    assert "--ckpt FOLDER" in caught.value.hint
