"""Paths as users write them."""

import os
from pathlib import Path


def user_path(text: str) -> Path:
    """Return the path that a user means, with `~` as a home folder where there is such a user.

    Where there is not, the path stays as it is; pathlib's own `expanduser` raises then.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111
