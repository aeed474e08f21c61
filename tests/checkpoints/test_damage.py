"""Bytes that change on disk or on the way: loading either refuses the file or gives exactly the tensors written."""

from __future__ import annotations

import contextlib
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastvit_cli.checkpoints.files import tensors_checksum
from fastvit_cli.checkpoints.load import load_checkpoint
from fastvit_cli.errors import FastViTError
from fastvit_cli.models.network import FastViT


@pytest.fixture(scope="module")
def victim(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our own file; each test restores what it overwrites, which is quicker than copying 13 MB."""
    return Path(shutil.copy(saved, tmp_path_factory.mktemp("damage") / "t8.safetensors"))


@pytest.fixture(scope="module")
def archive(network: FastViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as torch writes them."""
    path = tmp_path_factory.mktemp("damage") / "t8.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    return path


class Original:
    """What both files hold; hypothesis prints the arguments of a failing example, and a network is long."""

    def __init__(self, network: FastViT) -> None:
        self.tensors = network.state_dict()

    def __repr__(self) -> str:
        return "original"


@pytest.fixture(scope="module")
def original(network: FastViT) -> Original:
    return Original(network)


@contextlib.contextmanager
def overwritten(path: Path, offset: int, new: bytes) -> Iterator[None]:
    with path.open("rb+") as file:
        file.seek(offset)
        old = file.read(len(new))
        file.seek(offset)
        file.write(new[: len(old)])
    try:
        yield
    finally:
        with path.open("rb+") as file:
            file.seek(offset)
            file.write(old)


def refused_or_identical(path: Path, original: Original) -> bool:
    """Whether the file was refused; fails when it was taken with other values, or with any other exception."""
    try:
        actual = load_checkpoint(path).network.state_dict()
    except FastViTError:
        return True
    differing = [key for key, value in original.tensors.items() if not torch.equal(actual[key], value)]
    assert not differing
    return False


def header_end(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    return 8 + int(length)


def test_one_flipped_bit_in_the_data(victim: Path) -> None:
    offset = header_end(victim) + 1_000_000
    byte = victim.read_bytes()[offset]
    with overwritten(victim, offset, bytes([byte ^ 1])), pytest.raises(FastViTError) as caught:
        load_checkpoint(victim)
    assert "checksum differs" in caught.value.message
    assert str(victim) in caught.value.message
    load_checkpoint(victim)  # restored


def test_checksum_sees_names_types_shapes_and_values() -> None:
    def checksum(name: str, tensor: Tensor) -> str:
        return tensors_checksum({"other": torch.zeros(1), name: tensor})

    one = torch.arange(6.0)
    variations = [
        checksum("a", one),
        checksum("b", one),
        checksum("a", one + 1),
        checksum("a", one.reshape(2, 3)),
        checksum("a", one.reshape(3, 2)),
        checksum("a", one.view(torch.int32)),
        checksum("a", one.bfloat16()),
    ]
    assert len(set(variations)) == len(variations)


def test_checksum_does_not_see_order_or_strides() -> None:
    a, b = torch.randn(3, 4), torch.tensor(7)
    assert tensors_checksum({"a": a, "b": b}) == tensors_checksum({"b": b, "a": a.T.contiguous().T})


def test_one_flipped_bit_in_a_pickles_data(archive: Path) -> None:
    """torch.load does not look at the checksums that its archive holds."""
    offset = archive.stat().st_size // 2
    byte = archive.read_bytes()[offset]
    with overwritten(archive, offset, bytes([byte ^ 1])), pytest.raises(FastViTError, match="damaged"):
        load_checkpoint(archive)
    load_checkpoint(archive)  # restored


def test_a_record_marked_as_a_folder(archive: Path, original: Original) -> None:
    """torch.load returns uninitialised memory for it; the numbers are there."""
    content = archive.read_bytes()
    entry = content.rindex(b"data/300PK\x01\x02") - len(b"t8/")  # the name ends an entry of the table of contents
    attributes = entry - 46 + 38
    with overwritten(archive, attributes, b"\x10"):
        assert not refused_or_identical(archive, original)


def test_archive_without_checksums(original: Original, tmp_path: Path) -> None:
    """torch can be told to leave them out; such a file is whole."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(original.tensors, tmp_path / "t8.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert not refused_or_identical(tmp_path / "t8.pth", original)


# The data is 99.8 % of the file, so the header, which is where a change can confuse a parser, is drawn apart.
DAMAGE = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
positions = st.tuples(st.booleans(), st.floats(0, 1, exclude_max=True))
new_bytes = st.binary(min_size=1, max_size=8) | st.sampled_from([b'"', b"}", b"0", b"9", b",", b"\x00", b"a", b"\\"])


@DAMAGE
@given(position=positions, new=new_bytes)
def test_overwritten_bytes_in_our_file(
    victim: Path, original: Original, position: tuple[bool, float], new: bytes
) -> None:
    in_header, share = position
    start, end = (0, header_end(victim)) if in_header else (header_end(victim), victim.stat().st_size)
    offset = start + int(share * (end - start))
    with victim.open("rb") as file:
        file.seek(offset)
        same = file.read(len(new)) == new
    with overwritten(victim, offset, new):
        refused = refused_or_identical(victim, original)
    if same:
        assert not refused


@DAMAGE
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncation_of_our_file(victim: Path, share: float) -> None:
    whole = victim.stat().st_size
    with victim.open("rb") as file:
        file.seek(int(share * whole))
        rest = file.read()
    try:
        with victim.open("rb+") as file:
            file.truncate(int(share * whole))
        with pytest.raises(FastViTError):
            load_checkpoint(victim)
    finally:
        with victim.open("ab") as file:
            file.write(rest)


@DAMAGE
@given(position=positions, new=new_bytes)
def test_overwritten_bytes_in_a_pickle(
    archive: Path, original: Original, position: tuple[bool, float], new: bytes
) -> None:
    """torch's archive keeps a CRC of each record, so the same holds for a file without our checksum."""
    in_ends, share = position
    size, ends = archive.stat().st_size, 60_000
    # The pickle with the keys comes first and the table of contents last, so the file is looked at as a ring.
    offset = int((share - 0.5) * ends) % size if in_ends else int(share * size)
    with overwritten(archive, offset, new):
        refused_or_identical(archive, original)
