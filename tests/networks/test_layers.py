"""LeNet's layers are PyTorch's, each in the way that is fast."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnrun.networks.layers import ActivatedAveragePool, ActivatedMaxPool, average_pool


def _random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(256, 6, 24, 24), (3, 16, 8, 8), (1, 1, 2, 4), (0, 2, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_avg_pool2d(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = _random(*shape, dtype=dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = average_pool(ours), F.avg_pool2d(theirs, 2)
    assert torch.equal(y, expected)
    y.sin().sum().backward()
    expected.sin().sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


def test_first_and_second_derivatives_are_right() -> None:
    x = torch.randn(2, 3, 4, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(average_pool, (x,))
    assert torch.autograd.gradgradcheck(average_pool, (x,))


def test_the_input_need_not_be_contiguous() -> None:
    x = torch.randn(2, 4, 6, 8).permute(0, 1, 3, 2)
    assert torch.equal(average_pool(x), F.avg_pool2d(x, 2))


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.ReLU()], ids=["sigmoid", "relu"])
def test_pooling_comes_after_the_activation(activation: nn.Module) -> None:
    x = _random(5, 6, 24, 24)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    for layer, expected in (
        (ActivatedAveragePool(activation), nn.AvgPool2d(2)),
        (ActivatedMaxPool(activation), nn.MaxPool2d(2)),
    ):
        y, right = layer(ours), expected(activation(theirs))
        assert torch.equal(y, right)
        (mine,) = torch.autograd.grad(y.sin().sum(), ours)
        (other,) = torch.autograd.grad(right.sin().sum(), theirs)
        torch.testing.assert_close(mine, other)
