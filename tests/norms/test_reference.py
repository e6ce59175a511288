"""`batch_norm`, the pure function, against formulas written out here, channel by channel."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from bnrun.norms.reference import batch_norm

SHAPES = [(7, 3), (4, 3, 5), (3, 3, 4, 2), (2, 3, 2, 3, 2)]  # ranks 2 to 5
MOMENTUM = 0.3
EPS = 1e-3

MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
EXACT = {"rtol": 0, "atol": 1e-10}

# Worked examples from notes on the textbook (Dive into Deep Learning, "Batch Normalization").
GOLDEN_2D = [
    [0.2182, 0.9085],
    [0.3319, 0.3531],
    [0.3642, 0.6632],
    [0.3902, 0.5621],
    [0.3267, 0.0696],
    [0.1570, 0.3461],
    [0.4564, 1.0000],
    [0.5459, 0.1419],
    [0.0855, 0.2092],
    [0.5688, 0.2629],
]
GOLDEN_4D = [
    [
        [[0.3377, 0.0040, 0.1068], [0.8988, 0.8476, 0.4406]],
        [[0.2373, 0.8555, 0.5407], [0.0875, 0.8951, 0.0701]],
        [[0.9436, 0.8168, 0.6496], [0.9063, 0.3542, 0.3073]],
    ],
    [
        [[0.5269, 0.7035, 0.4117], [0.2906, 0.5506, 0.3359]],
        [[0.9111, 0.6993, 0.8829], [0.9526, 0.2769, 0.9301]],
        [[0.2550, 0.0682, 0.5667], [0.2577, 0.5471, 0.3435]],
    ],
]


def random_inputs(shape, dtype=torch.float64, seed=0):
    """x, gamma, beta, a moving mean and a moving variance: none of them at its default."""
    g = torch.Generator().manual_seed(seed)
    channels = shape[1]
    return SimpleNamespace(
        x=(torch.randn(shape, generator=g, dtype=dtype) * 2 + 3).requires_grad_(),
        gamma=torch.randn(channels, generator=g, dtype=dtype).requires_grad_(),
        beta=torch.randn(channels, generator=g, dtype=dtype).requires_grad_(),
        moving_mean=torch.randn(channels, generator=g, dtype=dtype),
        moving_var=torch.rand(channels, generator=g, dtype=dtype) + 0.5,
    )


def call(given, *, training, momentum=MOMENTUM, eps=EPS):
    return batch_norm(
        given.x,
        given.gamma,
        given.beta,
        given.moving_mean,
        given.moving_var,
        training=training,
        momentum=momentum,
        eps=eps,
    )


def training_formulas(given, dy):
    """Algorithm 1 of Ioffe & Szegedy 2015, and the gradients their section 3 writes out."""
    out = SimpleNamespace(**{k: v.detach().clone() for k, v in vars(given).items()})
    out.y, out.dx = torch.empty_like(dy), torch.empty_like(dy)
    out.dgamma, out.dbeta = torch.empty_like(out.gamma), torch.empty_like(out.beta)
    for c in range(dy.shape[1]):
        x, d, gamma = out.x[:, c], dy[:, c], out.gamma[c]
        m = x.numel()
        mean = x.sum() / m
        var = ((x - mean) ** 2).sum() / m
        x_hat = (x - mean) / (var + EPS) ** 0.5
        out.y[:, c] = gamma * x_hat + out.beta[c]

        out.moving_mean[c] = (1 - MOMENTUM) * given.moving_mean[c] + MOMENTUM * mean
        unbiased = ((x - mean) ** 2).sum() / (m - 1)
        out.moving_var[c] = (1 - MOMENTUM) * given.moving_var[c] + MOMENTUM * unbiased

        dx_hat = d * gamma
        dvar = (dx_hat * (x - mean)).sum() * -0.5 * (var + EPS) ** -1.5
        dmean = -dx_hat.sum() / (var + EPS) ** 0.5 + dvar * (-2 * (x - mean)).sum() / m
        out.dx[:, c] = dx_hat / (var + EPS) ** 0.5 + dvar * 2 * (x - mean) / m + dmean / m
        out.dgamma[c] = (d * x_hat).sum()
        out.dbeta[c] = d.sum()
    return out


def evaluation_formulas(given, dy):
    """Algorithm 2: the moving statistics are constants."""
    out = SimpleNamespace(moving_mean=given.moving_mean, moving_var=given.moving_var)
    out.y, out.dx = torch.empty_like(dy), torch.empty_like(dy)
    out.dgamma, out.dbeta = torch.empty_like(given.gamma), torch.empty_like(given.beta)
    for c in range(dy.shape[1]):
        root = (given.moving_var[c] + EPS) ** 0.5
        x_hat = (given.x[:, c].detach() - given.moving_mean[c]) / root
        out.y[:, c] = given.gamma[c].detach() * x_hat + given.beta[c].detach()
        out.dx[:, c] = dy[:, c] * given.gamma[c].detach() / root
        out.dgamma.data[c] = (dy[:, c] * x_hat).sum()
        out.dbeta.data[c] = dy[:, c].sum()
    return out


@MODES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_and_gradients_are_those_of_the_formulas(shape, training):
    given = random_inputs(shape)
    dy = torch.randn(shape, dtype=torch.float64)
    expected = (training_formulas if training else evaluation_formulas)(given, dy)

    y, moving_mean, moving_var = call(given, training=training)
    y.backward(dy)

    assert_close(y, expected.y, **EXACT)
    assert_close(moving_mean, expected.moving_mean, **EXACT)
    assert_close(moving_var, expected.moving_var, **EXACT)
    assert_close(given.x.grad, expected.dx, **EXACT)
    assert_close(given.gamma.grad, expected.dgamma, **EXACT)
    assert_close(given.beta.grad, expected.dbeta, **EXACT)


@pytest.mark.parametrize(
    ("x", "mean"),
    [(GOLDEN_2D, [0.3445, 0.4517]), (GOLDEN_4D, [0.4546, 0.6116, 0.5013])],
    ids=["2D", "4D"],
)
def test_the_mean_of_the_worked_example(x, mean):
    x, zero, one = torch.tensor(x), torch.zeros(len(mean)), torch.ones(len(mean))
    _, moving_mean, _ = batch_norm(x, None, None, zero, one, training=True, momentum=1.0, eps=0.1)
    assert [round(value, 4) for value in moving_mean.tolist()] == mean


def test_the_variance_of_the_worked_example():
    x, zero, one = torch.tensor(GOLDEN_2D), torch.zeros(2), torch.ones(2)
    _, _, unbiased = batch_norm(x, None, None, zero, one, training=True, momentum=1.0, eps=0.1)
    biased = unbiased * 9 / 10
    # x is given in four decimals too, so the last one may differ by one: 0.02245 here.
    assert biased.tolist() == pytest.approx([0.0224, 0.0924], rel=0, abs=1e-4)


def test_normalizing_divides_by_the_biased_variance():
    x = torch.tensor(GOLDEN_2D, dtype=torch.float64)
    y, _, _ = batch_norm(x, None, None, None, None, training=True, momentum=0.1, eps=0.0)
    assert_close(y.square().sum(0) / 10, torch.ones(2, dtype=torch.float64), **EXACT)


@MODES
@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 3), (2, 2, 2, 1), (2, 2, 1, 2, 1)], ids=str)
def test_first_and_second_derivatives_match_finite_differences(shape, training):
    given = random_inputs(shape)

    def y(x, gamma, beta):
        return batch_norm(
            x,
            gamma,
            beta,
            given.moving_mean,
            given.moving_var,
            training=training,
            momentum=MOMENTUM,
            eps=0.1,
        )[0]

    inputs = (given.x, given.gamma, given.beta)
    assert gradcheck(y, inputs)
    assert gradgradcheck(y, inputs)


@MODES
def test_none_for_gamma_and_beta_means_one_and_zero(training):
    given = random_inputs((3, 3, 4, 2))
    given.gamma, given.beta = torch.ones(3).double(), torch.zeros(3).double()
    with_vectors = call(given, training=training)[0]
    given.gamma = given.beta = None
    assert_close(call(given, training=training)[0], with_vectors, **EXACT)


def test_a_large_mean_does_not_cancel():
    x = 1e4 + 0.1 * torch.randn(512, 3)  # float32: E[x^2] - E[x]^2 would be off by about 8
    wide = x.double()
    y, _, moving_var = batch_norm(
        x, None, None, torch.zeros(3), torch.ones(3), training=True, momentum=1.0, eps=1e-5
    )
    expected = (wide - wide.mean(0)) / (wide.var(0, correction=0) + 1e-5).sqrt()
    assert_close(y.double(), expected, rtol=0, atol=0.05)
    assert_close(moving_var.double(), wide.var(0), rtol=1e-3, atol=0)


@MODES
def test_the_given_tensors_are_left_unchanged(training):
    given = random_inputs((3, 3, 4, 2))
    before = {name: tensor.detach().clone() for name, tensor in vars(given).items()}
    call(given, training=training)
    for name, tensor in vars(given).items():
        assert torch.equal(tensor, before[name]), name


def test_moved_statistics_are_new_tensors_without_a_graph():
    given = random_inputs((3, 3, 4, 2))
    given.moving_mean.requires_grad_()  # even then
    given.moving_var.requires_grad_()
    _, moving_mean, moving_var = call(given, training=True)
    for old, new in [(given.moving_mean, moving_mean), (given.moving_var, moving_var)]:
        assert new.data_ptr() != old.data_ptr()
        assert new.grad_fn is None
        assert not new.requires_grad


def test_evaluation_returns_the_given_statistics():
    given = random_inputs((3, 3, 4, 2))
    _, moving_mean, moving_var = call(given, training=False)
    assert moving_mean is given.moving_mean
    assert moving_var is given.moving_var


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0)], ids=str)
def test_an_empty_batch_moves_nothing(shape):
    given = random_inputs(shape)
    y, moving_mean, moving_var = call(given, training=True)
    assert y.shape == shape
    assert torch.equal(moving_mean, given.moving_mean)
    assert torch.equal(moving_var, given.moving_var)


@MODES
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0)], ids=str)
def test_the_gradients_of_an_empty_batch_are_zero(shape, training):
    given = random_inputs(shape)
    call(given, training=training)[0].sum().backward()
    assert given.x.grad.shape == shape
    assert given.gamma.grad.tolist() == [0, 0, 0]
    assert given.beta.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_takes_its_statistics_in_float32(dtype):
    x = (200 * torch.randn(4096, 3) + 1000).to(dtype)  # its squares overflow a float16
    y, moving_mean, moving_var = batch_norm(
        x, None, None, torch.zeros(3), torch.ones(3), training=True, momentum=1.0, eps=1e-5
    )
    wide = x.double()
    expected = (wide - wide.mean(0)) / wide.std(0, correction=0)
    assert y.dtype == dtype
    assert_close(y.double(), expected, rtol=0, atol=0.02)
    assert moving_mean.dtype == moving_var.dtype == torch.float32
    assert_close(moving_mean.double(), wide.mean(0), rtol=1e-5, atol=0)
    assert_close(moving_var.double(), wide.var(0), rtol=1e-5, atol=0)


@MODES
@pytest.mark.parametrize("shape", [(3,), (2, 3, 2, 2, 2, 2)], ids=["rank 1", "rank 6"])
def test_other_ranks_are_refused(shape, training):
    with pytest.raises(ValueError, match=rf"got {len(shape)}D input"):
        batch_norm(
            torch.randn(shape), None, None, None, None, training=training, momentum=0.1, eps=1e-5
        )


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (1, 3, 1, 1, 1)], ids=str)
def test_one_value_per_channel_is_refused_in_training_only(shape):
    given = random_inputs(shape)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        call(given, training=True)
    assert call(given, training=False)[0].shape == shape


@MODES
@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("name", ["gamma", "beta", "moving_mean", "moving_var"])
def test_a_vector_of_the_wrong_length_is_named(name, length, training):
    given = random_inputs((5, 3))
    setattr(given, name, torch.ones(length, dtype=torch.float64))
    with pytest.raises(RuntimeError, match=f"{name} should contain 3 elements.*not {length}"):
        call(given, training=training)


@pytest.mark.parametrize("missing", ["moving_mean", "moving_var"])
def test_evaluation_needs_moving_statistics(missing):
    given = random_inputs((5, 3))
    setattr(given, missing, None)
    with pytest.raises(ValueError, match="moving statistics"):
        call(given, training=False)
