"""On the real images, where they are on this machine."""

import pytest
import torch

from bnrun.config import DataConfig, parse_override, resolve
from bnrun.data import places
from bnrun.data.dataset import Dataset
from bnrun.data.load import load
from bnrun.events import EpochEnded, drain
from bnrun.training import train


@pytest.fixture(scope="module")
def fashion_mnist() -> Dataset:
    if places.find(None) is None:
        pytest.skip("Fashion-MNIST is not on this machine; `bnrun data fetch` gets it")
    return drain(load(DataConfig()))


def test_it_is_the_published_data(fashion_mnist: Dataset) -> None:
    assert fashion_mnist.verified
    assert (len(fashion_mnist.train), len(fashion_mnist.test)) == (60_000, 10_000)
    assert fashion_mnist.train.labels.bincount().tolist() == [6_000] * 10
    assert fashion_mnist.test.labels.bincount().tolist() == [1_000] * 10
    pixels = fashion_mnist.train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(0.2860, abs=1e-4)
    assert float(pixels.std()) == pytest.approx(0.3530, abs=1e-4)


def test_an_epoch_of_the_main_job_learns(fashion_mnist: Dataset) -> None:
    config = resolve(None, parse_override("training.epochs=1")).config
    events = train(config, fashion_mnist, torch.device("cpu"))
    (epoch,) = (event for event in events if isinstance(event, EpochEnded))
    assert 0.6 < epoch.loss < 0.9  # .73 at seed 0
    assert epoch.train_acc > 0.65
