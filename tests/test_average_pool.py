"""Our average pooling is PyTorch's, to the bit."""

import pytest
import torch
from torch.nn import functional as F

from bnrun.average_pool import AveragePool


@pytest.mark.parametrize("shape", [(256, 6, 24, 24), (3, 16, 8, 8), (1, 1, 2, 4), (0, 2, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_avg_pool2d(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = AveragePool()(ours), F.avg_pool2d(theirs, 2)
    assert torch.equal(y, expected)
    y.sin().sum().backward()
    expected.sin().sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


def test_first_and_second_derivatives_are_right() -> None:
    x = torch.randn(2, 3, 4, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(AveragePool(), (x,))
    assert torch.autograd.gradgradcheck(AveragePool(), (x,))


def test_the_input_need_not_be_contiguous() -> None:
    x = torch.randn(2, 4, 6, 8).permute(0, 1, 3, 2)
    assert torch.equal(AveragePool()(x), F.avg_pool2d(x, 2))
