"""What holds for inputs of any shape: three batch norms agree, and statistics merge exactly."""

from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from bnrun.norms import fused, reference
from bnrun.norms.population import MergedStatistics


@dataclass(frozen=True)
class Arguments:
    """Arguments of a batch norm."""

    x: Tensor
    gamma: Tensor | None
    beta: Tensor | None
    moving_mean: Tensor
    moving_var: Tensor
    momentum: float
    eps: float


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """The shape of a batch of rank 2 to 5 with at least two values per channel."""
    positions = draw(st.lists(st.integers(1, 4), max_size=3))
    several = any(size > 1 for size in positions)
    return (draw(st.integers(1 if several else 2, 6)), draw(st.integers(1, 5)), *positions)


@st.composite
def arguments(draw: st.DrawFn) -> Arguments:
    """Float64 arguments, of any mean and scale within the reach of its digits."""
    shape = draw(shapes())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    affine = draw(st.booleans())
    return Arguments(
        x=10.0 ** draw(st.integers(-2, 2)) * (normal(*shape) + draw(st.integers(-1000, 1000))),
        gamma=normal(shape[1]) if affine else None,
        beta=normal(shape[1]) if affine else None,
        moving_mean=normal(shape[1]),
        moving_var=normal(shape[1]).square() + 0.1,
        momentum=draw(st.floats(0, 1)),
        eps=draw(st.sampled_from([1e-5, 1e-3, 0.1])),
    )


@given(arguments(), st.booleans())
def test_the_reference_is_torchs_batch_norm(inputs: Arguments, training: bool) -> None:
    mean, var = inputs.moving_mean.clone(), inputs.moving_var.clone()  # torch updates in place
    expected = F.batch_norm(
        inputs.x, mean, var, inputs.gamma, inputs.beta, training, inputs.momentum, inputs.eps
    )
    actual = reference.batch_norm(**vars(inputs), training=training)
    assert_close(actual, (expected, mean, var), rtol=1e-7, atol=1e-7)


@given(arguments(), st.booleans())
def test_the_fast_path_is_the_reference_with_its_gradients(
    inputs: Arguments, training: bool
) -> None:
    results = []
    for function in (reference.batch_norm, fused.batch_norm):
        tensors = (inputs.x, inputs.gamma, inputs.beta)
        learned = [t.clone().requires_grad_() for t in tensors if t is not None]
        names = ("x", "gamma", "beta")[: len(learned)]
        y, *moving = function(
            **(vars(inputs) | dict(zip(names, learned, strict=True))), training=training
        )
        gradients = torch.autograd.grad((y * y.detach().sin()).sum(), learned)
        results.append((y, *moving, *gradients))
    assert_close(results[1], results[0], rtol=1e-7, atol=1e-7)


@given(arguments(), st.data())
def test_statistics_do_not_depend_on_how_batches_are_cut(
    inputs: Arguments, data: st.DataObject
) -> None:
    count = len(inputs.x)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=5)))  # empty batches, too
    merged = MergedStatistics()
    for start, end in zip([0, *cuts], [*cuts, count], strict=True):
        merged.add(inputs.x[start:end])
    over = [0, *range(2, inputs.x.dim())]
    expected = torch.var_mean(inputs.x, over, correction=0)
    assert merged.count == inputs.x[:, 0].numel()
    assert_close((merged.var, merged.mean), expected, rtol=1e-9, atol=1e-9)


@given(arguments(), st.data())
def test_statistics_do_not_depend_on_the_order_of_batches(
    inputs: Arguments, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(inputs.x))))
    whole, one_by_one = MergedStatistics(), MergedStatistics()
    whole.add(inputs.x)
    for index in order:
        one_by_one.add(inputs.x[index : index + 1])
    assert_close((one_by_one.mean, one_by_one.var), (whole.mean, whole.var), rtol=1e-9, atol=1e-9)
