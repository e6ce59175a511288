"""Paths as users write them, and where bnrun keeps what it can make again."""

import os
from pathlib import Path

import platformdirs


def user_path(text: str) -> Path:
    """Return the path that a user means, with `~` as a home folder where there is such a user.

    Where there is not, the path stays as it is; pathlib's own `expanduser` raises then.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111


def cache_root() -> Path:
    """Return bnrun's cache folder: `BNRUN_CACHE`, or the platform's."""
    return user_path(os.environ.get("BNRUN_CACHE") or platformdirs.user_cache_dir("bnrun"))
