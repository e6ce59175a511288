import pytest
import torch
from torch import Tensor, nn

from bnrun.data.dataset import Split
from bnrun.training.evaluation import accuracy


class Spy(nn.Module):
    """Answers with the top left pixel, and remembers the mode it was asked in."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append((self.training, torch.is_grad_enabled()))
        return nn.functional.one_hot((images[:, 0, 0, 0] * 255).round().long(), 10).float()


@pytest.mark.parametrize("count", [7, 1000, 2500])
def test_accuracy_is_the_fraction_answered_rightly(count: int) -> None:
    labels = torch.arange(count) % 10
    answers = torch.where(torch.arange(count) % 4 == 0, (labels + 1) % 10, labels)
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = answers.byte()
    assert accuracy(Spy(), Split(images, labels)) == int((answers == labels).sum()) / count


@pytest.mark.parametrize("training", [True, False])
def test_it_evaluates_without_gradients_and_restores_the_mode(training: bool) -> None:
    model = Spy().train(training)
    accuracy(model, Split(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.zeros(3).long()))
    assert model.modes == [(False, False)]
    assert model.training is training
    assert torch.is_grad_enabled()
