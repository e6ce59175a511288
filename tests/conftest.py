"""What several tests need: the command line as a real process, and small data on disk.

Two processes run the tests, each with one thread of torch: more would wait for one another.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bnrun.comparison.outcome import Arm
    from bnrun.data.dataset import Dataset

os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty cache, no colours, and a terminal 80 columns wide."""
    kept = {k: v for k, v in os.environ.items() if k not in ("BNRUN_DEBUG", "FORCE_COLOR")}
    return kept | {"BNRUN_CACHE": str(tmp_path / "cache"), "COLUMNS": "80", "NO_COLOR": "1"}


@pytest.fixture
def bnrun(
    tmp_path: Path, environment: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `bnrun ARGS` in the test's own folder."""

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bnrun", *map(str, args)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def idx_root(tmp_path: Path) -> Path:
    """A data.root with 600 + 200 learnable images, in torchvision's layout."""
    from bnrun.data.synthetic import synthetic

    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    dataset = synthetic()
    for prefix, split, count in (("train", dataset.train, 600), ("t10k", dataset.test, 200)):
        images = split.images[:count].numpy().tobytes()
        labels = split.labels[:count].byte().numpy().tobytes()
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels)
    return tmp_path / "root"


@pytest.fixture(scope="session")
def small() -> "Dataset":
    """300 + 100 generated images: an epoch of ten steps of 32, the last of 12 images."""
    import torch

    from bnrun.data.dataset import Dataset
    from bnrun.data.synthetic import synthetic

    whole = synthetic()
    train, test = whole.train.take(torch.arange(300)), whole.test.take(torch.arange(100))
    return Dataset(train, test, "synthetic", "generated", None)


@pytest.fixture
def arms_of() -> "Callable[..., tuple[Arm, ...]]":
    """Build arms of small batches and few epochs on generated data."""
    from bnrun.comparison.arms import build_arms
    from bnrun.config import parse_override

    def build(*texts: str, epochs: int = 2) -> "tuple[Arm, ...]":
        settings = [
            "data.name=synthetic",
            "training.device=cpu",
            "training.batch_size=32",
            f"training.epochs={epochs}",
        ]
        return build_arms(texts, None, [a for text in settings for a in parse_override(text)])

    return build
