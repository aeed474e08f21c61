"""The page of `fastvit check --report`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from helpers.page import Page
from helpers.photos import photo, save_photos
from helpers.program import run

WILD = "<b>bee & co<∕b>"  # no slash in a folder's name


@pytest.fixture
def page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Page:
    data = tmp_path / "photos"
    for number, folder in enumerate(("train/ant", f"train/{WILD}", "val/ant", f"val/{WILD}")):
        save_photos(data / folder, range(100 * number, 100 * number + 12))
    shutil.copy(data / "train/ant/000.jpg", data / "val/ant/leak.jpg")
    for copy in range(9):
        photo(1).save(data / "train" / WILD / f"conflict-{copy}.jpg", quality=40 + 5 * copy)
    photo(950).resize((400, 40)).save(data / "val/ant/long\x1b.png")
    (data / "val/ant/bad.jpg").write_bytes(b"nothing")
    outcome = run(capsys, "check", data, "--report", tmp_path / "look", "--workers", 0)
    assert outcome.code == 1
    assert f"Report: {tmp_path / 'look' / 'index.html'}" in outcome.err
    assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["index.html", "results.json"]
    again = run(capsys, "check", data, "--report", tmp_path / "look", "--workers", 0)
    assert again.code == 1, "a report may take the place of an older one"
    return Page((tmp_path / "look" / "index.html").read_text(encoding="utf-8"))


def test_the_page(page: Page) -> None:
    text = " ".join(page.text.split())
    assert page.title == "A look at photos"
    for words in (
        "1 of 27 are in train",
        "in train too: 1 of the 27 images of val (3.7 %)",
        "label conflict",
        "and 4 more of the same",
        "Odd images",
        "long\\x1b.png",
        "bad.jpg",
        "no image of a known kind",
        WILD,
    ):
        assert words in text
    assert "\x1b" not in page.source
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert all(re.match(r"data:image/jpeg;base64,", address) for address in page.addresses)
    assert len(page.addresses) == 2 + 6 + 1 + 16, "a leak, the ends of the conflict, an odd one, eight of each class"
    assert all(len(words) > 10 for words in page.alternatives())
    assert page.unscrolled == 0
    body = page.source.split("</style>", 1)[1]
    assert not re.search(r"#[0-9a-f]{6}\b", body), "colours follow the screen"
