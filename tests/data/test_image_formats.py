"""Whatever Pillow decodes is read, and what is passed over is told."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.photo import photo
from PIL import Image

from fastvit_cli.data import image_formats
from fastvit_cli.data.decoding import decode
from fastvit_cli.data.image_formats import image_suffixes
from fastvit_cli.data.passed_over import passed_over_words
from fastvit_cli.evaluation.predict import find_images


def _sample() -> Image.Image:
    return photo().resize((32, 32))


@pytest.fixture
def without_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is where pillow-heif is not installed."""
    formats = tuple(name for name in image_formats.image_formats() if name != "HEIF")
    monkeypatch.setattr(image_formats, "image_formats", lambda: formats)


@pytest.mark.parametrize(
    "suffix",
    [
        ".jfif",
        ".jpe",
        ".avif",
        ".jp2",
        ".heic",
        ".HEIF",
        ".tga",
        ".ico",
        ".PGM",
        ".sgi",
        ".dds",
        ".mpo",
        ".apng",
    ],
)
def test_types_that_were_passed_over_are_read(tmp_path: Path, suffix: str) -> None:
    assert suffix.lower() in image_suffixes()
    path = tmp_path / f"image{suffix}"
    _sample().convert("L" if suffix == ".PGM" else "RGB").save(path)
    assert decode(path.read_bytes()).shape == (32, 32, 3)


def test_everything_that_pillow_writes_and_reads_is_read() -> None:
    """A format that a later version of Pillow brings is no exception."""
    left_out = {".pdf", ".eps", ".ps", ".wmf", ".emf", ".grib", ".bufr", ".h5", ".hdf", ".palm", ".mpg", ".mpeg"}
    for suffix, name in Image.registered_extensions().items():
        if name in Image.SAVE and name in Image.OPEN and suffix not in left_out:
            assert suffix in image_suffixes()
    assert not left_out & image_suffixes()


def test_no_program_inside_an_image_is_run() -> None:
    """Pillow gives PostScript to Ghostscript, whatever the name of the file."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert Image.open(io.BytesIO(program)).format == "EPS"
    with pytest.raises(OSError, match="cannot identify"):
        decode(program)


def test_heic_without_the_extra_is_named_with_the_remedy(without_heic: None) -> None:  # noqa: ARG001 - a fixture
    encoded = io.BytesIO()
    _sample().save(encoded, "HEIF")
    with pytest.raises(ValueError, match=r'HEIC, which needs pip install "fastvit\[heic\]"'):
        decode(encoded.getvalue())


def test_a_program_without_the_extra_passes_heic_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("1.jpg", "2.HEIC"):
        (tmp_path / "a" / name).touch()
    script = (
        "import sys; from pathlib import Path; sys.modules['pillow_heif'] = None\n"
        "from fastvit_cli.data.class_folders import list_class_folders\n"
        "print(dict(list_class_folders(Path(sys.argv[1])).images.passed_over))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "{'.heic': 1}\n"


def test_what_is_said_of_files_that_are_passed_over() -> None:
    assert passed_over_words({}, {".txt": 3, "hidden": 1, ".db": 1}) is None
    assert passed_over_words({".heic": 20}, {".heic": 20, ".json": 4}) == (
        'Passed over, as no images: 40 .heic files. To read .heic: pip install "fastvit[heic]".'
    )
    assert passed_over_words({".mov": 1, "no known suffix": 2, "beside the class folders": 3}) == (
        "Passed over, as no images: 3 images beside the class folders, 2 files without a known suffix and "
        "1 .mov file. Loose images belong in a class folder. Convert the others to JPEG or PNG if they are pictures."
    )
    many = passed_over_words({f".x{number}": 10 - number for number in range(7)})
    assert many is not None
    assert "10 .x0 files, 9 .x1 files, 8 .x2 files, 7 .x3 files and 15 of other kinds." in many


def test_files_in_folders_to_predict(tmp_path: Path) -> None:
    for name in ("1.jfif", "sub/2.NEF", "sub/.git/3", ".DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([str(tmp_path), str(tmp_path / "sub" / "2.NEF")])
    assert found.paths == (tmp_path / "1.jfif", tmp_path / "sub" / "2.NEF"), "what is named itself is tried"
    assert found.passed_over == {".nef": 1, "hidden": 2}


def test_a_heic_photograph_has_its_pixels(tmp_path: Path) -> None:
    _sample().save(tmp_path / "photo.heic", quality=95)
    error = decode((tmp_path / "photo.heic").read_bytes()).astype(int) - np.asarray(_sample()).astype(int)
    assert np.abs(error).mean() < 12
