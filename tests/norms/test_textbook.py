"""Norm `textbook` against the definition in Dive into Deep Learning, 8.5, traps included."""

import pytest
import torch
from torch.testing import assert_close

from bnrun.norms.textbook import TextbookBatchNorm, batch_norm

SHAPES = {2: (7, 3), 4: (3, 3, 4, 2)}
EXACT = {"rtol": 0, "atol": 1e-10}
RANKS = pytest.mark.parametrize("rank", SHAPES)


def layer_in_random_state(rank):
    g = torch.Generator().manual_seed(rank)
    layer = TextbookBatchNorm(3, rank).double()
    shape = layer.gamma.shape
    layer.gamma.data = torch.randn(shape, generator=g, dtype=torch.float64)
    layer.beta.data = torch.randn(shape, generator=g, dtype=torch.float64)
    layer.moving_mean = torch.randn(shape, generator=g, dtype=torch.float64)
    layer.moving_var = torch.rand(shape, generator=g, dtype=torch.float64) + 0.5
    return layer


def batch(rank):
    return 2 * torch.randn(SHAPES[rank], dtype=torch.float64) + 3


def vectors(layer):
    """Gamma, beta, moving mean and moving variance as plain lists of numbers."""
    tensors = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_var)
    return [tensor.detach().flatten().tolist() for tensor in tensors]


def trained(X, gamma, beta, moving_mean, moving_var):
    """One training step by the definition, channel by channel."""
    Y = torch.empty_like(X)
    for c in range(X.shape[1]):
        x = X[:, c]
        mean = x.sum() / x.numel()
        var = ((x - mean) ** 2).sum() / x.numel()
        Y[:, c] = gamma[c] * (x - mean) / (var + 1e-5) ** 0.5 + beta[c]
        moving_mean[c] = 0.9 * moving_mean[c] + 0.1 * mean.detach().item()
        moving_var[c] = 0.9 * moving_var[c] + 0.1 * var.detach().item()
    return Y, moving_mean, moving_var


def predicted(X, gamma, beta, moving_mean, moving_var):
    Y = torch.empty_like(X)
    for c in range(X.shape[1]):
        Y[:, c] = gamma[c] * (X[:, c] - moving_mean[c]) / (moving_var[c] + 1e-5) ** 0.5 + beta[c]
    return Y, moving_mean, moving_var


def assert_steps_as(definition, layer, X):
    Y, moving_mean, moving_var = definition(X, *vectors(layer))
    assert_close(layer(X), Y, **EXACT)
    _, _, got_mean, got_var = vectors(layer)
    assert got_mean == pytest.approx(moving_mean, rel=0, abs=1e-10)
    assert got_var == pytest.approx(moving_var, rel=0, abs=1e-10)


@RANKS
def test_it_follows_the_definition_over_several_steps(rank):
    layer = layer_in_random_state(rank)
    for _ in range(4):
        assert_steps_as(trained, layer, batch(rank))
    with torch.no_grad():
        assert_steps_as(predicted, layer, batch(rank))


@RANKS
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
def test_the_mode_depends_on_gradients_and_not_on_train_and_eval(rank, mode, grad):
    layer = layer_in_random_state(rank)
    getattr(layer, mode)()
    with torch.set_grad_enabled(grad):
        assert_steps_as(trained if grad else predicted, layer, batch(rank))


def test_momentum_weighs_the_old_average():
    X, zero, one = torch.tensor([[0.0], [20.0]]), torch.zeros(1), torch.ones(1)
    _, mean, var = batch_norm(X, one, zero, zero, one, eps=1e-5, momentum=0.9)
    assert mean.item() == pytest.approx(1.0)  # 0.9 * 0 + 0.1 * 10
    assert var.item() == pytest.approx(10.9)  # 0.9 * 1 + 0.1 * 100: biased, 200 unbiased


@RANKS
def test_it_starts_from_one_zero_zero_one(rank):
    assert vectors(TextbookBatchNorm(3, rank)) == [[1.0] * 3, [0.0] * 3, [0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize(("rank", "shape"), [(2, (1, 3)), (4, (1, 3, 1, 1))])
def test_shapes_are_those_of_the_textbook(rank, shape):
    layer = TextbookBatchNorm(3, rank)
    for _ in range(2):  # before and after a step
        for name in ["gamma", "beta", "moving_mean", "moving_var"]:
            assert getattr(layer, name).shape == shape, name
        layer(torch.randn(SHAPES[rank]))


@RANKS
def test_moving_statistics_are_absent_from_state_dict(rank):
    layer = layer_in_random_state(rank)
    layer(batch(rank))
    assert list(layer.state_dict()) == ["gamma", "beta"]
    assert list(layer.buffers()) == []


@RANKS
def test_moving_statistics_are_new_detached_tensors(rank):
    layer = layer_in_random_state(rank)
    old = layer.moving_mean, layer.moving_var
    before = [tensor.clone() for tensor in old]
    layer(batch(rank).requires_grad_())
    for kept, copy, new in zip(old, before, (layer.moving_mean, layer.moving_var), strict=True):
        assert torch.equal(kept, copy)  # not updated in place
        assert new is not kept
        assert not torch.equal(new, kept)
        assert new.grad_fn is None
        assert not new.requires_grad


def test_moving_statistics_follow_the_device_of_the_input_only():
    layer = TextbookBatchNorm(3, 4).to("meta")
    assert layer.moving_mean.device.type == "cpu"
    layer(torch.randn(SHAPES[4], device="meta"))
    assert layer.moving_mean.device.type == layer.moving_var.device.type == "meta"


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("shape", [(3,), (4, 3, 5), (2, 3, 2, 2, 2)], ids=str)
def test_any_other_rank_is_an_error(shape, grad):
    layer = TextbookBatchNorm(3, 2)
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match=f"{len(shape)}D input"):
        layer(torch.randn(shape))


def test_one_value_per_channel_is_not_refused():
    layer = layer_in_random_state(2)
    assert_close(layer(batch(2)[:1]), layer.beta, **EXACT)


@RANKS
def test_gradients_flow_through_the_batch_statistics(rank):
    layer = layer_in_random_state(rank)
    X = batch(rank).requires_grad_()
    weights = torch.randn(SHAPES[rank], dtype=torch.float64)
    (got,) = torch.autograd.grad((layer(X) * weights).sum(), X)
    (expected,) = torch.autograd.grad((trained(X, *vectors(layer))[0] * weights).sum(), X)
    assert_close(got, expected, **EXACT)
