"""The explicit gradients are those of the plain formula."""

import itertools

import pytest
import torch
from torch import Tensor

from bnrun.norms import fused, reference

SHAPES = [(7, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)]
SMALL_SHAPES = [(5, 3), (3, 2, 4), (2, 3, 1, 4), (2, 3, 1, 2, 2)]
"""Finite differences of second derivatives take a pass for every pair of values."""


def _inputs(shape: tuple[int, ...], *, affine: bool = True) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(sum(shape))
    random = [torch.randn(n, dtype=torch.double, generator=generator) for n in (shape[1],) * 4]
    x = 3 + 2 * torch.randn(shape, dtype=torch.double, generator=generator)
    gamma, beta, moving_mean, moving_var = random
    if not affine:
        return [x, None, None, moving_mean, moving_var.abs()]
    return [x, gamma, beta, moving_mean, moving_var.abs()]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_equal_the_plain_formula(
    shape: tuple[int, ...], affine: bool, training: bool
) -> None:
    results = []
    for function in (reference.batch_norm, fused.batch_norm):
        inputs = _inputs(shape, affine=affine)
        learned = [t.requires_grad_() for t in inputs[:3] if t is not None]
        y, *moved = function(*inputs, training=training, momentum=0.3, eps=1e-3)
        loss = (y * y.detach().sin()).sum()
        with_graph = torch.autograd.grad(loss, learned, create_graph=True)  # other code
        gradients = torch.autograd.grad(loss, learned)
        results.append([y, *moved, *gradients, *with_graph])
    for plain, fast in zip(*results, strict=True):
        assert torch.allclose(plain, fast, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wanted", list(itertools.product([True, False], repeat=3)))
def test_only_inputs_that_require_gradients_get_them(wanted: tuple[bool, ...]) -> None:
    inputs = _inputs((4, 3, 5))
    for tensor, wants in zip(inputs[:3], wanted, strict=True):
        assert tensor is not None
        tensor.requires_grad_(wants)
    y, mean, var = fused.batch_norm(*inputs, training=True, momentum=0.1, eps=1e-5)
    assert y.requires_grad == any(wanted)
    assert not mean.requires_grad
    assert not var.requires_grad
    if any(wanted):
        y.square().sum().backward()
    assert [t.grad is not None for t in inputs[:3] if t is not None] == list(wanted)


@pytest.mark.parametrize("shape", SMALL_SHAPES)
def test_first_and_second_derivatives_are_right(shape: tuple[int, ...]) -> None:
    inputs = _inputs(shape)
    learned = tuple(t.requires_grad_() for t in inputs[:3] if t is not None)

    def function(*tensors: Tensor) -> Tensor:
        y, _, _ = fused.batch_norm(*tensors, None, None, training=True, momentum=0.1, eps=1e-3)
        return y

    assert torch.autograd.gradcheck(function, learned)
    assert torch.autograd.gradgradcheck(function, learned)


def test_it_works_under_torch_func() -> None:
    x, gamma, beta, *_ = _inputs((6, 3))

    def loss(x: Tensor) -> Tensor:
        y, _, _ = fused.batch_norm(
            x, gamma, beta, None, None, training=True, momentum=0.1, eps=1e-5
        )
        return (y**3).sum()

    assert x is not None
    plain = torch.autograd.functional.jacobian(loss, x)
    assert torch.allclose(torch.func.grad(loss)(x), plain)


def test_it_keeps_the_input_and_two_numbers_a_channel() -> None:
    kept: list[Tensor] = []
    inputs = _inputs((64, 3, 8, 8))
    assert inputs[0] is not None
    x = inputs[0].requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        fused.batch_norm(*inputs, training=True, momentum=0.1, eps=1e-5)
    large = [t for t in kept if t.numel() > 3]
    assert [t.data_ptr() for t in large] == [x.data_ptr()]
