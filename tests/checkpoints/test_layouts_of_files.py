"""Every variant in every layout, as files: recognised, loaded, and the logits are the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from helpers.golden import FORMS, GoldenVariant, assert_logits, reference_input
from safetensors.torch import save_file
from torch import Tensor

from fastvit_cli.checkpoints.layouts import to_reference
from fastvit_cli.checkpoints.load import LoadedModel, load_checkpoint
from fastvit_cli.models.preprocessing import default_preprocessing

pytestmark = pytest.mark.quick


def write(path: Path, tensors: Mapping[str, Tensor], wrapper: str | None = None) -> Path:
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path)
    else:
        torch.save({wrapper: dict(tensors), "epoch": 3} if wrapper else dict(tensors), path)
    return path


def assert_holds(loaded: LoadedModel, expected: Mapping[str, Tensor]) -> None:
    actual = loaded.network.state_dict()
    assert actual.keys() == expected.keys()
    assert [key for key, value in expected.items() if not torch.equal(actual[key], value)] == []
    assert not loaded.network.training


# (naming, form as the reference lists it, file name, wrapper)
FILES = [
    ("reference", "unfused", "unfused.pth.tar", "state_dict"),
    ("reference", "fused", "fused.safetensors", None),
    ("native", "unfused", "timm.safetensors", None),
    ("native", "fused", "timm_fused.pth", "model"),
]


@pytest.mark.parametrize(("naming", "form", "name", "wrapper"), FILES)
def test_recognised_and_loaded(
    golden: GoldenVariant, tmp_path: Path, naming: str, form: str, name: str, wrapper: str | None
) -> None:
    native = golden.native_tensors(form)
    tensors = golden.reference_tensors(form) if naming == "reference" else native
    file = write(tmp_path / name, tensors, wrapper)
    loaded = load_checkpoint(file)
    file.unlink()  # pytest keeps temporary folders: 130 MB a file for ma36
    assert loaded.layout.naming == naming
    assert loaded.layout.form == ("unfused" if form == "unfused" else "branches")
    assert loaded.layout.variant is golden.variant
    assert loaded.layout.num_classes == 1000
    assert loaded.path == file
    assert (loaded.info.variant, loaded.info.form) == (golden.name, loaded.layout.form)
    assert loaded.info.preprocessing == default_preprocessing(golden.variant)
    assert loaded.info.fused == (form == "fused")
    # The same tensors, so one pass a form is enough to know that they are used.
    assert_holds(loaded, native)
    if naming == "reference":
        expected = golden.value("eval_logits" if form == "unfused" else "fused_seeded_logits")
        with torch.no_grad():
            assert_logits(loaded.network(reference_input()), expected)


@pytest.mark.parametrize("form", FORMS)
def test_back_to_the_references_names(golden: GoldenVariant, form: str) -> None:
    tensors = to_reference(golden.native_tensors(form), golden.variant)
    assert {key: tuple(value.shape) for key, value in tensors.items()} == golden.shapes(form)
    assert all(tensors[key] is value for key, value in golden.reference_tensors(form).items())
