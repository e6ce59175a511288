"""Paths as users write them, and the folder of bnrun's cache."""

import os
import re
from pathlib import Path

import platformdirs


def user_path(text: str) -> Path:
    """Return the path that a user means: `~` and `~name` are home folders.

    Where there is no such user, the path stays as it is. Pathlib's `expanduser` would raise.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111


def folder_name(text: str) -> str:
    """Return a text with its brackets, signs and spaces replaced, as the name of a folder.

    `builtin(momentum=0.01)-s0` becomes `builtin_momentum_0.01-s0`.
    """
    return re.sub(r"[^\w.-]+", "_", re.sub(r"[^\w.-]+(?=-|$)", "", text))


def cache_root() -> Path:
    """Return bnrun's cache folder: `BNRUN_CACHE`, or the platform's."""
    return user_path(os.environ.get("BNRUN_CACHE") or platformdirs.user_cache_dir("bnrun"))
