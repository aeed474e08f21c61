"""What is noted of single images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.photos import photo, save_photos
from PIL import Image

from fastvit_cli.data.class_folders import list_class_folders
from fastvit_cli.data.image_facts import SplitFacts, note_facts
from fastvit_cli.data.perceptual_hash import NEAR, differing_bits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_photos(tmp_path / "a", range(3))
    return tmp_path


def _noted(folder: Path, workers: int = 0) -> SplitFacts:
    return note_facts(list_class_folders(folder).images, workers)


def test_all_that_is_noted(folder: Path) -> None:
    Image.new("RGB", (20, 200), "red").save(folder / "a" / "003.png")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900).save(folder / "a" / "004.png")
    cut = (folder / "a" / "000.jpg").read_bytes()
    (folder / "a" / "005.jpg").write_bytes(cut[: len(cut) // 2])
    noted = _noted(folder)
    facts = noted.facts
    assert facts["readable"].tolist() == [True] * 5 + [False]
    assert list(zip(facts["width"].tolist(), facts["height"].tolist(), strict=True))[2:] == [
        *((160, 120), (20, 200), (8, 8), (0, 0))
    ]
    assert facts["one_color"].tolist() == [False, False, False, True, False, False]
    assert len(np.unique(facts["content"])) == 6
    (bad,) = noted.unreadable
    assert bad.name.endswith("005.jpg")
    assert noted.deep == {"16-bit PNG": 1}


def test_processes_note_the_same_in_the_same_order(tmp_path: Path) -> None:
    save_photos(tmp_path / "a", range(70))
    (tmp_path / "a" / "069.jpg").write_bytes(b"nothing")
    seen: list[tuple[int, int]] = []
    alone = note_facts(list_class_folders(tmp_path).images, 0, lambda *progress: seen.append(progress))
    assert seen == [(32, 70), (64, 70), (70, 70)]
    together = _noted(tmp_path, workers=2)
    assert np.array_equal(alone.facts, together.facts)
    assert alone.unreadable == together.unreadable


def test_large_jpegs_look_the_same_decoded_in_part_as_whole(folder: Path) -> None:
    photo(0, 2000, 1500).save(folder / "a" / "large.jpg", quality=90)
    photo(0, 2000, 1500).save(folder / "a" / "large.png")
    facts = _noted(folder).facts
    assert facts["width"][-2:].tolist() == [2000, 2000]
    assert differing_bits(facts["look"][-2], facts["look"][-1]) <= 4
    cut = (folder / "a" / "large.jpg").read_bytes()[:-5000]
    (folder / "a" / "large.jpg").write_bytes(cut)
    assert len(_noted(folder).unreadable) == 1


@pytest.mark.parametrize("number", [3, 6, 7])
def test_orientation_is_noted_and_undone(folder: Path, number: int) -> None:
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}
    exif = Image.Exif()
    exif[0x0112] = number
    photo(0).transpose(turns[number]).save(folder / "a" / "turned.jpg", exif=exif, quality=90)
    facts = _noted(folder).facts
    assert facts["orientation"].tolist() == [1, 1, 1, number]
    assert differing_bits(facts["look"][0], facts["look"][3]) <= NEAR // 2
