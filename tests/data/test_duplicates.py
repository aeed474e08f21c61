"""Hashes of what images look like, and the groups that they make."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.photos import photo, pixels_of
from PIL import Image, ImageOps

from fastvit_cli.data import duplicates
from fastvit_cli.data.duplicates import find_duplicates
from fastvit_cli.data.perceptual_hash import (
    NEAR,
    Hashes,
    differing_bits,
    is_one_color,
    mirrored,
    perceptual_hash,
    reduced,
)


def _hash(image: Image.Image) -> Hashes:
    return perceptual_hash(reduced(pixels_of(image)))


def _recompressed(image: Image.Image, quality: int) -> Image.Image:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality)
    return Image.open(encoded).convert("RGB")


def _flipped(hashes: Hashes, *bits: int) -> Hashes:
    changed = np.unpackbits(hashes.view(np.uint8))
    changed[list(bits)] ^= 1
    return np.packbits(changed).view(np.uint64)


def _random(count: int) -> Hashes:
    return np.random.default_rng(0).integers(0, 2**64, (count, 4), np.uint64)


def _groups(looks: Hashes) -> list[list[int]]:
    contents = np.arange(len(looks), dtype=np.uint64)
    return [group.tolist() for group in find_duplicates(contents, looks, np.ones(len(looks), bool)).groups]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_photo_is_near_and_another_is_far(seed: int) -> None:
    image, own = photo(seed), _hash(photo(seed))
    for same in (
        _recompressed(image, 30),
        image.resize((80, 60), Image.Resampling.LANCZOS),
        image.resize((400, 300), Image.Resampling.BICUBIC),
        image.resize((128, 128), Image.Resampling.BILINEAR),
    ):
        assert differing_bits(own, _hash(same)) <= 12
        assert differing_bits(mirrored(own), _hash(ImageOps.mirror(same))) <= 12
    assert differing_bits(own, mirrored(own)) > 2 * NEAR
    for other in range(10, 20):
        assert differing_bits(own, _hash(photo(other))) > 2 * NEAR
        assert differing_bits(own, mirrored(_hash(photo(other)))) > 2 * NEAR


def test_one_colour_with_the_noise_of_a_jpeg() -> None:
    grey = np.full((60, 80, 3), 120, np.uint8)
    noise = np.random.default_rng(0).integers(0, 5, grey.shape, np.uint8)
    assert is_one_color(reduced(grey))
    assert is_one_color(reduced(grey + noise))
    assert not is_one_color(reduced(pixels_of(photo(0))))
    grey[:30] += 20
    assert not is_one_color(reduced(grey))


def test_groups_of_files_and_of_looks() -> None:
    looks = _random(8)
    looks[3] = looks[0]
    looks[5] = _flipped(mirrored(looks[2]), 3, 77, 200)
    looks[6] = _flipped(looks[5], *range(100, 112))
    contents = np.array([1, 2, 3, 4, 2, 6, 7, 8], np.uint64)
    found = find_duplicates(contents, looks, np.ones(8, bool))
    assert [group.tolist() for group in found.groups] == [[0, 3], [1, 4], [2, 5, 6]]
    assert found.all_compared
    comparable = np.array([True, True, True, False, False, True, True, True])
    uncompared = find_duplicates(contents, looks, comparable)
    assert [group.tolist() for group in uncompared.groups] == [[1, 4], [2, 5, 6]], "equal files need no look"


def test_how_many_bits_may_differ() -> None:
    first = _random(1)[0]
    bits = np.random.default_rng(1).permutation(240)  # the last sixteenth stays
    for count, groups in ((15, [[0, 1]]), (NEAR, [[0, 1]]), (NEAR + 1, [])):
        assert _groups(np.stack([first, _flipped(first, *bits[:count].tolist())])) == groups


def test_against_comparing_all_with_all() -> None:
    random = np.random.default_rng(2)
    looks = _random(300)
    for copy in range(200, 300):
        source = looks[int(random.integers(0, 200))]
        looks[copy] = _flipped(mirrored(source) if copy % 2 else source, *random.permutation(256)[:12].tolist())
    near = np.minimum(*(differing_bits(looks[:, None], other[None]) for other in (looks, mirrored(looks)))) <= NEAR
    expected = {frozenset(np.flatnonzero(row).tolist()) for row in near if row.sum() > 1}
    while any(one & other for one in expected for other in expected if one != other):
        expected = {frozenset().union(*(other for other in expected if one & other)) for one in expected}
    assert {frozenset(group) for group in _groups(looks)} == expected
    assert len(expected) > 60


def test_crowds_are_compared_with_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_MOST_COMPARED", 3)
    crowd = np.repeat(_random(1), 20, axis=0)
    found = find_duplicates(np.arange(20, dtype=np.uint64), crowd, np.ones(20, bool))
    assert [len(group) for group in found.groups] == [20]
    looks = _random(20)
    looks.view(np.uint16)[:, 5] = 9
    assert not find_duplicates(np.arange(20, dtype=np.uint64), looks, np.ones(20, bool)).all_compared


def test_no_images_and_one() -> None:
    assert _groups(_random(0)) == _groups(_random(1)) == []
