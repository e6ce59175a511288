"""Each kernel computes its specification: values and gradients against float64 formulas."""

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnrun import kernels
from bnrun.norms import reference

pytestmark = pytest.mark.usefixtures("every_level")

Function = Callable[..., Tensor]
# In units of the largest value: float32 rounds at 6e-8, and sums of 150,000 products add up.
TOLERANCE = 3e-6
BATCHES = [256, 96, 17, 7, 2, 1]  # whole, odd, and fewer than SIMD's lanes or the sums' parts


def _random(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _assert_right(ours: Function, right: Function, *inputs: Tensor | None) -> None:
    """Hold values and gradients to those of the right function, in float64."""
    single = [None if x is None else x.clone().requires_grad_() for x in inputs]
    double = [None if x is None else x.double().requires_grad_() for x in inputs]
    y, expected = ours(*single), right(*double)
    slope = _random(*y.shape, seed=1)
    found = torch.autograd.grad(y, [x for x in single if x is not None], slope)
    wanted = torch.autograd.grad(expected, [x for x in double if x is not None], slope.double())
    for mine, other in zip((y, *found), (expected, *wanted), strict=True):
        assert (mine.dtype, mine.shape) == (torch.float32, other.shape)
        mine, other = mine.detach().double(), other.detach()
        error = float((mine - other).abs().max() / other.abs().max().clamp_min(1e-30))
        assert error < TOLERANCE


@pytest.mark.parametrize("images", BATCHES)
@pytest.mark.parametrize(("inner", "outer", "size"), [(1, 6, 28), (6, 16, 12)])
def test_convolution_is_conv2d(images: int, inner: int, outer: int, size: int) -> None:
    x, weight, bias = (
        _random(images, inner, size, size),
        _random(outer, inner, 5, 5),
        _random(outer),
    )
    assert kernels.supports_conv2d(x, weight, bias)
    _assert_right(kernels.conv2d, F.conv2d, x, weight, bias)


@pytest.mark.parametrize("images", BATCHES)
@pytest.mark.parametrize(("channels", "size"), [(6, 24), (16, 8)])
def test_pooling_is_avg_pool2d_of_sigmoids_or_max_pool2d(
    images: int, channels: int, size: int
) -> None:
    x = _random(images, channels, size, size, scale=4.0)
    assert kernels.supports_pooling(x)
    _assert_right(kernels.sigmoid_average_pool, lambda x: F.avg_pool2d(torch.sigmoid(x), 2), x)
    _assert_right(kernels.max_pool, lambda x: F.max_pool2d(x, 2), x)


def test_the_sigmoid_is_right_for_every_exponent() -> None:
    x = torch.linspace(-120, 120, 4 * 12 * 12).view(1, 4, 12, 12)
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # every window of one value
    pooled = kernels.sigmoid_average_pool(x)
    right = torch.sigmoid(F.avg_pool2d(x.double(), 2))
    assert float((pooled - right).abs().max()) < 2e-6  # 1e-7 where multiply-add is fused
    assert pooled.min() >= 0
    assert pooled.max() == 1


def test_nan_stays_nan_and_infinities_do_not_become_nan() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0], x[0, 0, 0, 2], x[0, 0, 0, 4] = torch.nan, torch.inf, -torch.inf
    for ours, right in (
        (kernels.max_pool, F.max_pool2d),
        (kernels.sigmoid_average_pool, lambda x, _: F.avg_pool2d(torch.sigmoid(x), 2)),
    ):
        torch.testing.assert_close(ours(x), right(x, 2), equal_nan=True)
    bad = _random(4, 6)
    bad[0, 0] = torch.nan
    y, mean, var = kernels.batch_norm(
        bad, None, None, torch.zeros(6), torch.ones(6), momentum=0.1, eps=1e-5
    )
    assert y[:, 0].isnan().all()
    assert y[:, 1:].isfinite().all()
    assert mean is not None
    assert var is not None
    assert mean.isnan().tolist() == var.isnan().tolist() == [True, *[False] * 5]


@pytest.mark.parametrize("shape", [(256, 120), (96, 84), (5, 3), (256, 6, 24, 24), (3, 16, 8, 8)])
@pytest.mark.parametrize("center", [0.0, 100.0])
def test_batch_norm_is_the_formula(shape: tuple[int, ...], center: float) -> None:
    x = _random(*shape) + center
    moving = _random(shape[1]), _random(shape[1]).abs()
    settings = {"momentum": 0.3, "eps": 1e-5}

    def ours(x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
        return kernels.batch_norm(x, gamma, beta, *moving, **settings)[0]

    def right(x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
        return reference.batch_norm(x, gamma, beta, None, None, training=True, **settings)[0]

    for affine in ((_random(shape[1]), _random(shape[1])), (_random(shape[1]), None), (None, None)):
        if center == 0.0:  # else the input has lost two digits before we see it
            _assert_right(ours, right, x, *affine)
        y, *moved = kernels.batch_norm(x, *affine, *moving, **settings)
        expected, *other = reference.batch_norm(
            x.double(), *affine, *moving, training=True, **settings
        )
        assert float((y - expected).abs().max()) < 1e-4 * float(expected.abs().max())
        for mine, theirs in zip(moved, other, strict=True):
            torch.testing.assert_close(mine, theirs.float())


@pytest.mark.parametrize("shape", [(7, 120), (3, 6, 24, 24), (0, 6), (2, 3, 5)])
def test_batch_norm_predicts_by_the_formula(shape: tuple[int, ...]) -> None:
    x, mean, var = _random(*shape), _random(shape[1], seed=1), _random(shape[1], seed=2).square()
    for affine in ((_random(shape[1]), _random(shape[1])), (_random(shape[1]), None), (None, None)):
        y = kernels.batch_norm_evaluation(x, *affine, mean, var, 1e-3)
        right, _, _ = reference.batch_norm(
            x, *affine, mean, var, training=False, momentum=0.1, eps=1e-3
        )
        torch.testing.assert_close(y, right)


@pytest.mark.parametrize("shape", [(7, 120), (3, 6, 24, 24), (2, 3, 5), (1, 1, 1), (40, 16, 8, 8)])
def test_statistics_of_a_population_are_in_double(shape: tuple[int, ...]) -> None:
    x = _random(*shape) + 1e4
    mean, squares = kernels.batch_statistics(x)
    over = [0, *range(2, x.dim())]
    expected = x.double().mean(over, keepdim=True)
    torch.testing.assert_close(mean, expected.flatten(), rtol=1e-15, atol=0)
    torch.testing.assert_close(
        squares, (x.double() - expected).square().sum(over), rtol=1e-12, atol=1e-16
    )


def test_a_batch_is_looked_up_and_scaled_to_the_bit() -> None:
    images = torch.arange(5 * 784).remainder(256).to(torch.uint8).view(5, 1, 28, 28)
    index = torch.tensor([4, 0, 0, 3])
    assert torch.equal(kernels.gather(images, index), images[index].float().div_(255))


@pytest.mark.parametrize(("images", "classes"), [(256, 10), (7, 16), (5, 3)])
def test_the_loss_is_cross_entropy(images: int, classes: int) -> None:
    logits = _random(images, classes, scale=5.0)
    labels = torch.arange(images).remainder(classes)
    _assert_right(
        lambda x: kernels.cross_entropy(x, labels), lambda x: F.cross_entropy(x, labels), logits
    )
    logits[0, 0] = torch.nan
    assert kernels.cross_entropy(logits, labels).isnan()


@pytest.mark.parametrize("label", [-1, 10, 2**40])
def test_a_label_that_is_no_class_makes_the_loss_nan(label: int) -> None:
    labels = torch.tensor([3, label])
    assert kernels.cross_entropy(_random(2, 10), labels).isnan()


@pytest.mark.parametrize(
    ("shape", "tolerance"), [((256, 120), 5e-7), ((64, 3), 5e-7), ((64, 3, 5, 5), 1e-4)]
)
def test_a_mean_of_10_000_deviations_costs_the_variance_few_digits(
    shape: tuple[int, ...], tolerance: float
) -> None:
    """As batch_norm.h says. Float32 sums of squares would leave no digit of the variance."""
    x = _random(*shape) + 1e4
    channels = shape[1]
    _, _, var = kernels.batch_norm(
        x, None, None, torch.zeros(channels), torch.zeros(channels), momentum=1.0, eps=0.0
    )
    exact = x.double().var([0, *range(2, x.dim())])
    assert var is not None
    torch.testing.assert_close(var.double(), exact, rtol=tolerance, atol=0.0)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    x, weight, bias = _random(50, 6, 12, 12), _random(16, 6, 5, 5), _random(16)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
            y = kernels.sigmoid_average_pool(kernels.conv2d(*leaves))
            y, *moved = kernels.batch_norm(
                y, None, None, torch.zeros(16), torch.ones(16), momentum=0.1, eps=1e-5
            )
            results.append((y, *moved, *torch.autograd.grad(y.sin().sum(), leaves)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_inputs_and_gradients_need_not_be_contiguous() -> None:
    x = _random(4, 28, 28, 1).permute(0, 3, 2, 1)
    weight, bias = _random(5, 5, 1, 6).permute(3, 2, 1, 0), _random(6)
    torch.testing.assert_close(kernels.conv2d(x, weight, bias), F.conv2d(x, weight, bias))
    wide = _random(3, 24, 24, 6).permute(0, 3, 1, 2).requires_grad_()
    y = kernels.max_pool(wide)
    (ours,) = torch.autograd.grad(y, wide, torch.ones(()).expand(y.shape))
    (right,) = torch.autograd.grad(F.max_pool2d(wide, 2).sum(), wide)
    assert torch.equal(ours, right)


def test_vectors_need_not_be_contiguous() -> None:
    x, every_other = _random(4, 6), _random(5, 12).square()[:, ::2]
    gamma, beta, mean, var, bias = every_other
    y, *moved = kernels.batch_norm(x, gamma, beta, mean, var, momentum=0.1, eps=1e-3)
    right, *expected = reference.batch_norm(
        x, gamma, beta, mean, var, training=True, momentum=0.1, eps=1e-3
    )
    torch.testing.assert_close([y, *moved], [right, *expected])
    y = kernels.batch_norm_evaluation(x, gamma, beta, mean, var, 1e-3)
    right, _, _ = reference.batch_norm(
        x, gamma, beta, mean, var, training=False, momentum=0.1, eps=1e-3
    )
    torch.testing.assert_close(y, right)
    x, weight = _random(2, 1, 28, 28), _random(6, 1, 5, 5)
    torch.testing.assert_close(kernels.conv2d(x, weight, bias), F.conv2d(x, weight, bias))


def test_what_has_no_kernel_is_not_supported() -> None:
    x, weight, bias = _random(2, 6, 12, 12), _random(16, 6, 5, 5), _random(16)
    assert kernels.supports_batch_norm(x, None)
    assert not kernels.supports_batch_norm(x.double())
    assert not kernels.supports_batch_norm(x, _random(12).double())
    assert not kernels.supports_conv2d(x.double(), weight.double(), bias.double())
    assert not kernels.supports_conv2d(x, weight, None)
    assert not kernels.supports_conv2d(x[:, :, :10, :10], weight, bias)
    assert not kernels.supports_conv2d(x, weight[..., :3, :3], bias)
    assert not kernels.supports_pooling(x)
    assert not kernels.supports_pooling(x[0])
    labels = torch.zeros(2, dtype=torch.long)
    assert kernels.supports_cross_entropy(_random(2, 10), labels)
    assert not kernels.supports_cross_entropy(_random(2, 17), labels)
    assert not kernels.supports_cross_entropy(_random(3, 10), labels)
    assert not kernels.supports_cross_entropy(_random(2, 10), labels.int())
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    assert kernels.supports_gather(images, labels)
    assert not kernels.supports_gather(images.int(), labels)
    assert not kernels.supports_gather(images, labels.to("meta"))


def test_a_second_derivative_is_refused_not_wrong() -> None:
    x = _random(2, 6, 24, 24).requires_grad_()
    (g,) = torch.autograd.grad(kernels.max_pool(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


@pytest.mark.parametrize("pieces", [2, 3, 40])
def test_pieces_use_no_more_memory_than_they_are_given(
    pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    def work(x: Tensor, pieces: int = 1) -> Tensor:
        given = _work(x, pieces)
        guarded = torch.full((20 * given.numel(),), 7.0, dtype=torch.float64)
        kept.append(guarded[given.numel() :])
        return guarded[: given.numel()]

    module = importlib.import_module("bnrun.kernels.batch_norm")  # beside the function of its name
    _work = module._work
    monkeypatch.setattr(module, "_work", work)
    x = torch.randn(2 * pieces, 5, 3, requires_grad=True)
    vector = torch.ones(5 * pieces, requires_grad=True)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        y, _, _ = kernels.batch_norm(
            x, vector, vector, None, None, momentum=0.0, eps=1e-5, pieces=pieces
        )
        y.square().sum().backward()
    finally:
        torch.set_num_threads(before)
    assert len(kept) == 2
    assert all(bool((beyond == 7.0).all()) for beyond in kept)
