"""The environment of a run: versions, machine, command and git state."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bnrun import __version__


def describe(device: str, machine: str) -> dict[str, Any]:
    """Return the environment of this process, as `environment.json` holds it.

    Args:
        device, machine: the device of the run, and its name for humans.
    """
    import torch

    return {
        "bnrun": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "platform": platform.platform(),
        "device": device,
        "machine": machine,
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Return the working folder's commit, and whether it has changes; None outside of git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "changed": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    """Return what a git command prints; None where it fails or there is no git."""
    if shutil.which("git") is None:
        return None
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, errors="replace", timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
