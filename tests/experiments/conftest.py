"""What tests of experiments share: small data, and arms on it."""

from collections.abc import Callable

import pytest
import torch

from bnrun.config import parse_override
from bnrun.data.dataset import Dataset, Split
from bnrun.data.synthetic import synthetic
from bnrun.experiments.arms import build_arms
from bnrun.experiments.comparison import Arm

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def small() -> Dataset:
    """300 + 100 generated images: an epoch of ten steps, the last of 12 images."""
    whole = synthetic()

    def first(split: Split, count: int) -> Split:
        return split.take(torch.arange(count))

    return Dataset(first(whole.train, 300), first(whole.test, 100), "synthetic", "generated", None)


@pytest.fixture
def arms_of() -> Callable[..., tuple[Arm, ...]]:
    """Build arms of small batches and few epochs on generated data."""

    def build(*texts: str, epochs: int = 2) -> tuple[Arm, ...]:
        stated = [
            "data.name=synthetic",
            "training.device=cpu",
            "training.batch_size=32",
            f"training.epochs={epochs}",
        ]
        return build_arms(texts, None, [a for text in stated for a in parse_override(text)])

    return build
