"""What only this user and root can have written is private, by owner, group and mode."""

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from bnrun.kernels.file_ownership import NotPrivate, is_private_file, require_private_folder

ME, OTHER = 12_345, 54_321
MY_GROUP, SHARED_GROUP = 777, 888


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make a folder look as if it had a mode, an owner and a group; I am user 12345."""
    real = Path.stat
    faked: dict[Path, tuple[int, int, int]] = {}

    def stat(path: Path, **arguments: Any) -> os.stat_result:
        status = real(path, **arguments)
        mode, uid, gid = faked.get(path, (status.st_mode & 0o7777, 0, 0))
        kind = status.st_mode & ~0o7777
        return os.stat_result((kind | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))

    def user(uid: int) -> Any:
        names = {ME: "me", OTHER: "mallory"}
        return pwd.struct_passwd((names[uid], "x", uid, MY_GROUP, "", "", ""))

    def group(gid: int) -> Any:
        names = {MY_GROUP: ("me", []), SHARED_GROUP: ("class", ["me", "mallory"])}
        name, members = names[gid]
        return grp.struct_group((name, "x", gid, members))

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    monkeypatch.setattr(pwd, "getpwuid", user)
    monkeypatch.setattr(grp, "getgrgid", group)
    folder = tmp_path / "shared" / "kernels"
    folder.mkdir(parents=True)

    def set_status(mode: int, uid: int = ME, gid: int = MY_GROUP, *, parent: int = 0o755) -> Path:
        faked[folder] = (mode, uid, gid)
        faked[folder.parent] = (parent, OTHER, SHARED_GROUP)
        return folder

    return set_status


@pytest.mark.parametrize(
    "status",
    [
        (0o700, ME, MY_GROUP),
        (0o755, ME, SHARED_GROUP),
        (0o755, 0, 0),
        (0o775, ME, MY_GROUP),  # a umask of 002, with a group of my own
    ],
)
def test_what_nobody_else_may_write_is_private(place: Any, status: tuple[int, int, int]) -> None:
    require_private_folder(place(*status))
    assert is_private_file(place(*status))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ((0o755, OTHER, MY_GROUP), "belongs to the user mallory. .*BNRUN_CACHE"),
        ((0o757, ME, MY_GROUP), "everybody may write to .*kernels. Type `chmod o-w .*kernels"),
        ((0o1777, ME, MY_GROUP), "everybody may write"),  # anybody can add a file
        ((0o775, ME, SHARED_GROUP), "the group class may write to .*kernels. Type `chmod g-w"),
        ((0o775, ME, 999), "the group 999 may write"),  # whose members are not known
    ],
)
def test_what_somebody_else_may_write_is_not(
    place: Any, status: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(NotPrivate, match=message):
        require_private_folder(place(*status))
    assert not is_private_file(place(*status))


def test_a_parent_for_everybody_is_refused_unless_it_is_sticky(place: Any) -> None:
    require_private_folder(place(0o700, parent=0o1777))
    with pytest.raises(NotPrivate, match="everybody may write to .*shared. Type `chmod o-w"):
        require_private_folder(place(0o700, parent=0o777))


def test_a_folder_that_does_not_exist_is_as_private_as_its_parents(place: Any) -> None:
    require_private_folder(place(0o700) / "new" / "newer")
    with pytest.raises(NotPrivate, match="everybody may write to .*kernels"):
        require_private_folder(place(0o777) / "new")
