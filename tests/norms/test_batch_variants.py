"""Variants of batch norm against second formulas, in float64 and from random state."""

import math

import pytest
import torch

from bnrun.norms import BatchNorm
from bnrun.norms.batch_variants import (
    BatchRenorm,
    BatchVariant,
    L1BatchNorm,
    LInfBatchNorm,
    MeanOnlyBatchNorm,
    VarianceOnlyBatchNorm,
)
from bnrun.norms.dynamic_tanh import DynamicTanh
from bnrun.norms.noise import NoisyBatchNorm, ShiftingNoise

SHAPES = [(9, 4), (5, 4, 3, 2)]
EPS = 1e-3


def _layer(cls, **options):
    """Return a layer in float64 with random parameters and statistics, whatever its class."""
    generator = torch.Generator().manual_seed(1)
    layer = cls(4, eps=EPS, **options).double()
    for name, tensor in layer.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(4, generator=generator).double() + 0.5 * (name != "bias"))
    return layer


def _input(shape):
    generator = torch.Generator().manual_seed(2)
    return 2 + 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def _by_channel(vector, x):
    return vector.detach().view(1, 4, *[1] * (x.dim() - 2))


def _affine(layer, normalized):
    return _by_channel(layer.weight, normalized) * normalized + _by_channel(layer.bias, normalized)


def _close(result, expected):
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)


def _deviations(x):
    """Return x - mean, and the count of a channel's values."""
    values = x.transpose(0, 1).flatten(1)
    mean = values.mean(1)
    return values - mean[:, None], mean, values.shape[1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_unchanged_the_base_is_batch_norm(shape, training):
    x = _input(shape)
    base, scratch = _layer(BatchVariant).train(training), _layer(BatchNorm).train(training)
    _close(base(x), scratch(x))
    for name, value in scratch.state_dict().items():
        _close(base.state_dict()[name], value)


SPREADS = {
    BatchVariant: lambda d, m: d.square().mean(1),
    MeanOnlyBatchNorm: lambda d, m: d.square().mean(1),
    VarianceOnlyBatchNorm: lambda d, m: d.square().mean(1),
    L1BatchNorm: lambda d, m: d.abs().mean(1) ** 2 * math.pi / 2,
    LInfBatchNorm: lambda d, m: (
        d.abs().amax(1) ** 2 * (1 + (math.pi * math.log(4)) ** 0.5) ** 2 / (8 * math.log(m))
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", SPREADS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_variant_is_its_formula(shape, cls, training):
    x, layer = _input(shape), _layer(cls).train(training)
    old = {name: value.clone() for name, value in layer.state_dict().items()}
    deviations, mean, m = _deviations(x)
    var = SPREADS[cls](deviations, m)
    y = layer(x)
    used = (mean, var) if training else (old["running_mean"], old["running_var"])
    mean_used, var_used = (_by_channel(vector, x) for vector in used)
    centered = x if cls is VarianceOnlyBatchNorm else x - mean_used
    scale = 1 if cls is MeanOnlyBatchNorm else 1 / torch.sqrt(var_used + EPS)
    _close(y, _affine(layer, centered * scale))
    weight = 0.1 if training else 0
    _close(layer.running_mean, (1 - weight) * old["running_mean"] + weight * mean)
    _close(layer.running_var, (1 - weight) * old["running_var"] + weight * var * m / (m - 1))


@pytest.mark.parametrize(("cls", "deviation"), [(L1BatchNorm, 1.0), (LInfBatchNorm, 0.7)])
def test_a_gaussian_batch_gets_the_deviation_that_the_docstring_names(cls, deviation):
    x = torch.randn(50_000, 4, generator=torch.Generator().manual_seed(0)).double() * 3
    y = cls(4, eps=0.0, affine=False).double()(x)
    expected = torch.full((4,), deviation).double()
    torch.testing.assert_close(y.std(0), expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("cls", SPREADS)
def test_gradients_are_those_of_differences(cls):
    layer = _layer(cls, momentum=0.0)
    x = _input((6, 4)).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("cls", [*SPREADS, BatchRenorm])
def test_a_single_value_is_refused_and_an_empty_batch_is_not(cls):
    layer = _layer(cls)
    before = layer.running_mean.clone()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(torch.zeros(1, 4).double())
    assert layer(torch.zeros(0, 4).double()).shape == (0, 4)
    assert torch.equal(layer.running_mean, before)


def test_renorm_is_batch_norm_while_it_warms_up():
    renorm, scratch = _layer(BatchRenorm, warmup=2), _layer(BatchNorm)
    for _ in range(3):
        x = _input((7, 4))
        _close(renorm(x), scratch(x))
    assert not torch.allclose(renorm(x), scratch(x))


def test_renorm_within_its_bounds_normalizes_by_the_moving_statistics():
    layer = _layer(BatchRenorm, r_max=1e6, d_max=1e6, warmup=0)
    x = _input((7, 4))
    _close(layer(x), _layer(BatchRenorm, warmup=0).eval()(x))


def test_renorm_clips_its_corrections():
    layer = _layer(BatchRenorm, r_max=1.25, d_max=0.5, warmup=0)
    x = 40 + 9 * _input((7, 4))  # far above the moving statistics: every bound holds
    _, mean, _ = _deviations(x)
    normalized = (x - mean) / torch.sqrt(x.var(0, unbiased=False) + EPS)
    _close(layer(x), _affine(layer, normalized * 1.25 + 0.5))


def test_renorm_sends_no_gradient_through_its_corrections():
    layer = _layer(BatchRenorm, r_max=1.25, d_max=0.5, warmup=0, affine=False)
    x = (40 + 9 * _input((7, 4))).requires_grad_()
    g = torch.randn(7, 4, generator=torch.Generator().manual_seed(3)).double()
    (layer(x) * g).sum().backward()
    plain = x.detach().clone().requires_grad_()
    (_layer(BatchNorm, affine=False)(plain) * g).sum().backward()
    _close(x.grad, 1.25 * plain.grad)


def test_renorms_bounds_grow_as_in_the_paper():
    layer = BatchRenorm(4, warmup=100)
    bounds = {}
    for count in (0, 100, 240, 500, 800, 5000):
        layer.num_batches_tracked.fill_(count)
        bounds[count] = layer.bounds()
    assert bounds == {
        0: (1, 0),
        100: (1, 0),
        240: (pytest.approx(1.4), pytest.approx(1.75)),
        500: (pytest.approx(1 + 2 * 4 / 7), 5),
        800: (3, 5),
        5000: (3, 5),
    }


@pytest.mark.parametrize("options", [{"r_max": 0.5}, {"d_max": -1}, {"warmup": -1}])
def test_renorm_refuses_bounds_that_mean_nothing(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        BatchRenorm(4, **options)


def _noise(shape=(4000, 3, 2), **options):
    torch.manual_seed(0)
    return ShiftingNoise(shape[1], **options)(torch.zeros(shape, dtype=torch.float64))


def test_the_noises_shift_is_uniform_about_a_mean_by_channel():
    y = _noise()
    centers = (y.amax((0, 2)) + y.amin((0, 2))) / 2
    half_widths = (y.amax((0, 2)) - y.amin((0, 2))) / 2
    assert (centers.abs() <= 0.5).all()
    assert centers.unique().numel() == 3
    torch.testing.assert_close(half_widths, torch.full((3,), 0.1).double(), rtol=0.01, atol=0)


def test_the_noises_scale_is_gaussian_about_a_mean_by_channel():
    torch.manual_seed(0)
    s = ShiftingNoise(3, n_mu=0, r_mu=0)(torch.ones(4000, 3, 2, dtype=torch.float64))
    means, deviations = s.mean((0, 2)), s.transpose(0, 1).flatten(1).std(1)
    assert ((means > 0.99) & (means < 1.26)).all()
    assert means.unique().numel() == 3
    torch.testing.assert_close(deviations, torch.full((3,), 0.1).double(), rtol=0.05, atol=0)


def test_the_noise_is_new_at_every_step_and_absent_in_evaluation():
    layer = ShiftingNoise(3)
    x = torch.randn(5, 3, 2)
    assert not torch.equal(layer(x), layer(x))
    assert layer.eval()(x) is x


def test_noisy_batch_norm_is_batch_norm_with_noise():
    x = _input((9, 4))
    silent = {"n_mu": 0.0, "n_sigma": 1.0, "r_mu": 0.0, "r_sigma": 0.0}
    _close(_layer(NoisyBatchNorm, **silent)(x), _layer(BatchNorm)(x))
    _close(_layer(NoisyBatchNorm).eval()(x), _layer(BatchNorm).eval()(x))
    noisy = _layer(NoisyBatchNorm)
    assert not torch.equal(noisy(x), noisy(x))
    assert list(noisy.state_dict()) == list(BatchNorm(4).state_dict())


@pytest.mark.parametrize("shape", SHAPES)
def test_dynamic_tanh_is_its_formula(shape):
    x, layer = _input(shape), DynamicTanh(4, alpha=0.25).double()
    with torch.no_grad():
        layer.weight.copy_(torch.arange(4) + 1.0)
        layer.bias.copy_(torch.arange(4) - 1.0)
    _close(layer(x), _affine(layer, torch.tanh(x / 4)))
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(),))
    assert list(DynamicTanh(4, affine=False).state_dict()) == ["alpha"]
