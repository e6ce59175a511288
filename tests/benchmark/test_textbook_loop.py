"""Our rendering of the textbook's loop trains the textbook's network, as the textbook does."""

from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional as F

from bnrun.data.dataset import Dataset
from bnrun.networks.lenet import LeNet
from bnrun.norms import norm_factory

if TYPE_CHECKING:
    from bnrun.benchmark.textbook_loop import TextbookLoop


@pytest.fixture
def loop(small: Dataset) -> "TextbookLoop":
    """The textbook's loop over small data; to import torchvision takes seconds."""
    from bnrun.benchmark.textbook_loop import TextbookLoop

    return TextbookLoop(small, torch.device("cpu"), batch_size=32, lr=0.5, workers=0)


@pytest.mark.filterwarnings("ignore:.*'mode' parameter is deprecated:DeprecationWarning")
def test_its_step_is_ours(loop: "TextbookLoop", small: Dataset) -> None:
    ours = LeNet(norm_factory("textbook"), seed=1)
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), loop._net.parameters(), strict=True):
            theirs.copy_(mine)
    images = torch.stack([loop._train[i][0] for i in range(32)])
    labels = small.train.labels[:32]
    assert torch.equal(images, small.train.images[:32].float() / 255)

    phases: list[str] = []
    loop._step(images, labels, phases.append)
    loss = F.cross_entropy(ours(images), labels)
    loss.backward()
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), loop._net.parameters(), strict=True):
            torch.testing.assert_close(theirs, mine - 0.5 * mine.grad)
    assert loop._metrics[0] == pytest.approx(32 * float(loss.detach()), rel=1e-5)
    assert loop._metrics[2] == 32
    assert phases == ["forward", "backward", "optimizer"]


@pytest.mark.filterwarnings("ignore:.*'mode' parameter is deprecated:DeprecationWarning")
def test_a_block_counts_its_own_steps_alone(loop: "TextbookLoop") -> None:
    phases: list[str] = []
    reading = loop.train(3, phases.append)
    assert reading.examples == 3 * 32
    assert 0 < reading.compute_seconds < reading.seconds
    assert phases == ["data", "forward", "backward", "optimizer"] * 3
    loop.evaluate()
    assert loop._net.training
