"""Metadata as text: a round trip, and every way it can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastvit_cli.checkpoints.files import write_safetensors
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.checkpoints.metadata import METADATA_KEY, ModelInfo, _digest
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.preprocessing import Preprocessing

shares = st.floats(0.01, 1.0)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        ModelInfo,
        variant=st.text(),
        form=st.sampled_from(["unfused", "branches", "all"]),
        num_classes=st.just(0),
        preprocessing=st.builds(
            Preprocessing,
            img_size=st.integers(32, 4096),
            crop_pct=shares,
            interpolation=st.text(),
            mean=st.tuples(shares, shares, shares),
            std=st.tuples(shares, shares, shares),
        ),
        class_names=st.none() | st.lists(st.text()).map(tuple),
        data=st.none() | st.text(),
        epoch=st.none() | st.integers(0),
        top1=st.none() | shares,
        recipe=st.dictionaries(st.text(), json_values, max_size=3),
        checksum=st.none() | st.text(),
    )
)
def test_round_trip(info: ModelInfo) -> None:
    assert ModelInfo.from_json(info.to_json()) == info


def changed(info: ModelInfo, change: Callable[[dict[str, Any]], Any]) -> str:
    """What a program would write that has these values: the digest is of them."""
    fields = json.loads(info.to_json())
    del fields["digest"]
    change(fields)
    return json.dumps({**fields, "digest": _digest(fields)})


@pytest.mark.parametrize(
    "old_and_new", [('"t8"', '"t9"'), ('"img_size": 192', '"img_size": 193'), ("digest", "digist")]
)
def test_a_changed_letter_is_noticed(info: ModelInfo, old_and_new: tuple[str, str]) -> None:
    text = info.to_json()
    assert old_and_new[0] in text
    with pytest.raises(FastViTError):
        ModelInfo.from_json(text.replace(*old_and_new))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"text"', "{}", '{"version": 1}'])
def test_not_our_metadata(text: str) -> None:
    with pytest.raises(FastViTError, match="cannot be read"):
        ModelInfo.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.pop("variant"),
        lambda f: f.pop("preprocessing"),
        lambda f: f.update(preprocessing=[1, 2]),
        lambda f: f["preprocessing"].update(img_size="big"),
        lambda f: f["preprocessing"].update(mean=["a", "b", "c"]),
        lambda f: f["preprocessing"].update(mean=0.5),
        lambda f: f["preprocessing"].update(crop_pct=9.0),
        lambda f: f.update(class_names=7),
        lambda f: f.update(class_names=["one too few"]),
        lambda f: f.update(unknown_field=1),
        lambda f: f.update(preprocessing=[["img_size", 32]]),
        *(
            lambda f, size=size: f["preprocessing"].update(img_size=size)
            for size in (10**9, 8193, 0, -32, 96.0, 96.5, True, "96", None, [96], 10**400)
        ),
        *(
            lambda f, mean=mean: f["preprocessing"].update(mean=mean)
            for mean in ([0.5, 0.5], [0.5] * 4, [], [0.5, 0.5, "0.5"], [0.5, 0.5, float("nan")], [[0.5]] * 3, 10**400)
        ),
        *(
            lambda f, std=std: f["preprocessing"].update(std=[0.5, 0.5, std])
            for std in (0, -0.5, float("inf"), None, True, 10**400)
        ),
        *(
            lambda f, crop=crop: f["preprocessing"].update(crop_pct=crop)
            for crop in (0, -1, float("nan"), "0.9", None, True)
        ),
        lambda f: f["preprocessing"].update(interpolation=3),
        lambda f: f["preprocessing"].update(interpolation="x" * 9999),
        *(
            lambda f, names=names: f.update(class_names=names)
            for names in ([1, 2, 3, 4], "abcd", [["a"]] * 4, {"a": 1}, [None] * 4, ["x" * 9999] * 4)
        ),
        *(
            lambda f, count=count: f.update(num_classes=count, class_names=None)
            for count in (-1, 10**9, 4.0, "4", None, True)
        ),
        *(lambda f, form=form: f.update(form=form) for form in ("", "half", None, 1)),
        *(lambda f, variant=variant: f.update(variant=variant) for variant in (None, 8, ["t8"], "x" * 9999)),
        *(lambda f, top1=top1: f.update(top1=top1) for top1 in ("81", float("nan"), True)),
        lambda f: f.update(epoch=1.5),
        lambda f: f.update(data=["/photos"]),
        lambda f: f.update(recipe=[1]),
        lambda f: f.update(checksum=7),
    ],
)
def test_broken_fields(info: ModelInfo, change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(FastViTError) as caught:
        ModelInfo.from_json(changed(info, change))
    assert len(caught.value.message) < 250
    assert caught.value.hint


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '"' + "x" * 9_000_000 + '"', "9" * 5000])
def test_deep_or_long_text(text: str) -> None:
    with pytest.raises(FastViTError, match="cannot be read") as caught:
        ModelInfo.from_json(text)
    assert len(caught.value.message) < 250


def test_the_field_is_named(info: ModelInfo) -> None:
    for field, value, words in (
        ("img_size", 10**9, "img_size is 1000000000"),
        ("mean", [0.5, 0.5], "mean has 2 values"),
    ):
        with pytest.raises(FastViTError, match=words):
            ModelInfo.from_json(changed(info, lambda f, new={field: value}: f["preprocessing"].update(new)))


def test_whole_numbers_for_fractions(info: ModelInfo) -> None:
    """JSON of another program writes 1 for 1.0."""
    text = changed(info, lambda f: f["preprocessing"].update(mean=[0, 0, 0], std=[1, 1, 1], crop_pct=1))
    preprocessing = ModelInfo.from_json(text).preprocessing
    assert (preprocessing.mean, preprocessing.std, preprocessing.crop_pct) == ((0.0,) * 3, (1.0,) * 3, 1.0)
    assert type(preprocessing.mean[0]) is type(preprocessing.crop_pct) is float


def test_newer_version(info: ModelInfo) -> None:
    """Even with fields that this program does not know, it is the version that the message names."""
    for change in ({"version": 2}, {"version": 2, "quantisation": "int8"}):
        with pytest.raises(FastViTError) as caught:
            ModelInfo.from_json(changed(info, lambda fields, change=change: fields.update(change)))
        assert "has version 2; this program knows version 1" in caught.value.message
        assert "Upgrade" in caught.value.hint


# --- metadata in a file ---------------------------------------------------------------------------


def error_of(path: Path, tensors: dict[str, Tensor], metadata: str) -> FastViTError:
    write_safetensors(path, tensors, {METADATA_KEY: metadata})
    with pytest.raises(FastViTError) as caught:
        load_checkpoint(path)
    return caught.value


@pytest.mark.parametrize(
    "change",
    [{"variant": "sa12"}, {"form": "branches"}, {"num_classes": 9, "class_names": None}],
    ids=["variant", "form", "num_classes"],
)
def test_metadata_of_another_network(
    tensors: dict[str, Tensor], info: ModelInfo, tmp_path: Path, change: dict[str, Any]
) -> None:
    error = error_of(tmp_path / "m.safetensors", tensors, replace(info, **change).to_json())
    assert "The metadata of" in error.message
    assert "fastvit_t8, timm names, unfused, 4 classes" in error.message


def test_newer_version_in_a_file(tensors: dict[str, Tensor], info: ModelInfo, tmp_path: Path) -> None:
    newer = changed(info, lambda fields: fields.update(version=2))
    assert "version 2" in error_of(tmp_path / "m.safetensors", tensors, newer).message


def test_without_a_checksum(tensors: dict[str, Tensor], info: ModelInfo, tmp_path: Path) -> None:
    assert info.checksum is None
    write_safetensors(tmp_path / "m.safetensors", tensors, {METADATA_KEY: info.to_json()})
    assert load_checkpoint(tmp_path / "m.safetensors").info == info


def test_metadata_of_another_program(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    write_safetensors(tmp_path / "m.safetensors", tensors, {"format": "pt"})
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.info.class_names is None
    assert loaded.info.preprocessing == Preprocessing()
