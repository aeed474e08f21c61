"""What all kinds of specs of timm's data sets are checked with."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastvit_cli.data.images import Images
from fastvit_cli.data.timm_specs import open_spec
from fastvit_cli.errors import FastViTError


def refused(data: str, split: str = "train") -> FastViTError:
    with pytest.raises(FastViTError) as caught:
        open_spec(data, split)
    for line in (caught.value.message, caught.value.hint):
        assert line
        assert "\n" not in line
    return caught.value


def pixels_of(content: Any) -> np.ndarray:
    image = Image.open(io.BytesIO(content)) if isinstance(content, bytes) else content
    return np.asarray(image.convert("RGB"))


def check_protocol(images: Images) -> None:
    """What holds for every kind: types, other labels, and the same images after a pickle."""
    assert images.labels.dtype == np.int32
    assert images.labels.shape == (len(images),)
    assert images.labels.max() < len(images.class_names)
    other = images.relabelled(("all",), np.zeros_like(images.labels))
    assert (other.class_names, other.labels.max(), len(other)) == (("all",), 0, len(images))
    copy = pickle.loads(pickle.dumps(images))
    assert (copy.where, copy.class_names) == (images.where, images.class_names)
    assert copy.labels.tolist() == images.labels.tolist()
    for index in (len(images) - 1, 0):
        assert copy.name(index) == other.name(index) == images.name(index)
        assert np.array_equal(pixels_of(copy.read(index)), pixels_of(images.read(index)))
        assert np.array_equal(pixels_of(other.read(index)), pixels_of(images.read(index)))


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
