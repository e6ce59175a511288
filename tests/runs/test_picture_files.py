"""Pictures on disk: beside the results they show, and always whole."""

from pathlib import Path

import pytest

from bnrun.errors import RunError
from bnrun.runs.picture_files import write_picture


def test_a_picture_is_a_file_of_each_format(tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_bytes(b"old")
    paths = write_picture(tmp_path, "curves", {"svg": b"<svg/>", "png": b"new"})
    assert paths == [tmp_path / "curves.svg", tmp_path / "curves.png"]
    assert [path.read_bytes() for path in paths] == [b"<svg/>", b"new"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match=r"run/curves.svg can't be written: Not a directory"):
        write_picture(tmp_path / "run", "curves", {"svg": b"<svg/>"})
    with pytest.raises(RunError, match="No such file or directory"):
        write_picture(tmp_path / "absent", "curves", {"svg": b"<svg/>"})


def test_what_was_there_stays_when_a_picture_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "curves.svg").write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left on device.*is whole"):
        write_picture(tmp_path, "curves", {"svg": b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["curves.svg"]
    assert (tmp_path / "curves.svg").read_bytes() == b"old"
