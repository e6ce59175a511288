"""Checks that nobody but this user and root can have written a file.

Whoever may write to a library can run code as the user who loads it.
"""

import os
import shlex
import stat
from pathlib import Path

ROOT = 0
"""The user id of root."""


class NotPrivate(Exception):
    """Somebody else may write to a folder; the message says who, and what to type."""


def require_private_folder(folder: Path) -> None:
    """Check that nobody else can put a file into a folder; one that does not exist passes.

    The folder must belong to this user or to root, and be writable for nobody else. Whoever may
    write to one of its parents can put another folder in its place, but not one that belongs to
    this user. So a parent is refused only if everybody may write to it without the sticky bit,
    which /tmp has.

    Raises:
        NotPrivate: somebody else can, or the folder cannot be looked at.
    """
    for place in (folder, *folder.parents):
        try:
            status = place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise NotPrivate(f"{place} can't be read ({error.strerror})") from error
        if place == folder and not _is_own(status):
            raise NotPrivate(
                f"{place} belongs to {_user(status.st_uid)}. Name a folder of your own in the "
                "environment variable BNRUN_CACHE"
            )
        is_sticky = place != folder and status.st_mode & stat.S_ISVTX
        if status.st_mode & stat.S_IWOTH and not is_sticky:
            raise NotPrivate(
                f"everybody may write to {place}. Type `chmod o-w {shlex.quote(str(place))}`"
            )
        if place == folder and _others_of_group_may_write(status):
            raise NotPrivate(
                f"the group {_group(status.st_gid)} may write to {place}. "
                f"Type `chmod g-w {shlex.quote(str(place))}`"
            )


def is_private_file(file: Path) -> bool:
    """Return whether a file belongs to this user or to root, and nobody else may write to it."""
    status = file.stat()
    return (
        _is_own(status)
        and not status.st_mode & stat.S_IWOTH
        and not _others_of_group_may_write(status)
    )


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid in (ROOT, os.geteuid())


def _others_of_group_may_write(status: os.stat_result) -> bool:
    """Return whether a group may write that has, or may have, members other than this user.

    Debian and Ubuntu give each user a group of the same name, and let it write to new files (a
    umask of 002).
    """
    if not status.st_mode & stat.S_IWGRP:
        return False
    import grp  # Unix alone has these two
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(status.st_gid)
    except KeyError:  # the group's members are unknown
        return True
    is_own = group.gr_gid == user.pw_gid and group.gr_name == user.pw_name
    return not (is_own and set(group.gr_mem) <= {user.pw_name})


def _user(uid: int) -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"another user ({uid})"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
