"""A file appears whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from fastvit_cli.atomic import check_writable, refuse_existing, replaced_when_done
from fastvit_cli.errors import FastViTError

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file with old content, alone in its folder."""
    path = tmp_path / "best.safetensors"
    path.write_text("old")
    return path


def write_half(path: Path, error: BaseException) -> None:
    with replaced_when_done(path) as temporary:
        temporary.write_text("half")
        raise error


def test_replaces_the_file_when_the_block_is_done(target: Path) -> None:
    with replaced_when_done(target) as temporary:
        assert temporary.parent == target.parent, "a rename is atomic within one file system only"
        assert temporary.suffix == ".safetensors", "writers choose the format by it"
        temporary.write_text("new")
        assert target.read_text() == "old", "readers see the old file until the last moment"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), SystemExit(143), FastViTError("bad")])
def test_interrupted_writer_leaves_the_old_file(target: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        write_half(target, error)
    assert caught.value is error
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_interrupted_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"):
        write_half(tmp_path / "new.txt", RuntimeError("boom"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(28, "No space left on device"), "No space left on device"), (OSError("cut off"), "cut off")],
)
def test_full_disk(target: Path, error: OSError, reason: str) -> None:
    with pytest.raises(FastViTError) as caught, replaced_when_done(target):
        raise error
    assert caught.value.message == f"Writing '{target}' failed ({reason})."
    assert "space" in caught.value.hint
    assert caught.value.__cause__ is error
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_content_is_on_disk_before_the_rename(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(handle: int) -> None:
        steps.append(f"fsync {os.fstat(handle).st_size}")
        fsync(handle)

    def record_replace(self: Path, new: Path) -> Path:
        steps.append("rename")
        return replace(self, new)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    with replaced_when_done(target) as temporary:
        temporary.write_text("twelve bytes")
    assert steps == ["fsync 12", "rename"]


def test_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "1" / "config.yaml"
    with replaced_when_done(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x"


def test_folder_that_cannot_be_made(target: Path) -> None:
    """A file stands where the folder would be."""
    with pytest.raises(FastViTError) as caught, replaced_when_done(target / "best.safetensors"):
        pytest.fail("the block must not run")
    assert f"Cannot write to '{target}'" in caught.value.message
    assert "--output" in caught.value.hint


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="permissions do not stop root")
def test_folder_that_cannot_be_written(target: Path) -> None:
    target.parent.chmod(0o500)
    try:
        with pytest.raises(FastViTError, match="Permission denied"), replaced_when_done(target):
            pytest.fail("the block must not run")
    finally:
        target.parent.chmod(0o700)


def test_refused_temporary_file(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for every user, root included."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(FastViTError) as caught, replaced_when_done(target):
        pytest.fail("the block must not run")
    assert caught.value.message == f"Cannot write to '{target.parent}' (Permission denied)."
    assert target.read_text() == "old"


def test_a_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(FastViTError, match="is a folder") as caught, replaced_when_done(tmp_path):
        pytest.fail("the block must not run")
    assert "name of a file" in caught.value.hint
    assert tmp_path.is_dir()


def test_whether_a_file_can_be_written_is_known_before(target: Path) -> None:
    check_writable(target.parent / "new" / "a.csv")
    assert list((target.parent / "new").iterdir()) == []
    for path, message in ((target / "a.csv", "Cannot write to"), (target.parent, "is a folder")):
        with pytest.raises(FastViTError, match=message):
            check_writable(path)
    with pytest.raises(FastViTError, match="File name too long"):
        check_writable(target.with_name("x" * 300))


@posix
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    """Temporary files are private by default; what a user writes should not be."""
    path, old = tmp_path / "f", os.umask(mask)
    try:
        with replaced_when_done(path) as temporary:
            temporary.write_text("x")
        assert os.umask(mask) == mask, "the mask is left as it was"
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_name_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 250}.txt"
    with replaced_when_done(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    with pytest.raises(FastViTError, match="File name too long") as error:
        refuse_existing(tmp_path / ("n" * 300), force=True)
    assert "another --output" in error.value.hint
