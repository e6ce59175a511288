"""The grouped formula against PyTorch's layers, in float64 and from random parameters."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bnrun import kernels
from bnrun.norms.grouped import GroupNorm, RMSNorm, grouped_norm
from bnrun.norms.reference import batch_norm
from bnrun.training.engine import EAGER, fast_on_cpu, running

SHAPES = [(5, 12), (4, 12, 7), (3, 12, 5, 2)]
EPS = 1e-3


def _input(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = 3 + 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    gamma, beta = torch.randn(2, shape[1], generator=generator, dtype=torch.float64)
    return x, gamma, beta


def _assert_close(result, expected):
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_example_and_some_channels_are_group_norm(shape, groups):
    x, gamma, beta = _input(shape)
    y = grouped_norm(x, gamma, beta, examples=1, channels=12 // groups, eps=EPS)
    _assert_close(y, functional.group_norm(x, groups, gamma, beta, EPS))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_example_and_all_channels_are_layer_norm(shape):
    x, _, _ = _input(shape)
    y = grouped_norm(x, None, None, examples=1, channels=12, eps=EPS)
    _assert_close(y, functional.layer_norm(x, shape[1:], eps=EPS))


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_one_example_and_one_channel_are_instance_norm(shape):
    x, gamma, beta = _input(shape)
    y = grouped_norm(x, gamma, beta, examples=1, channels=1, eps=EPS)
    _assert_close(y, functional.instance_norm(x, weight=gamma, bias=beta, eps=EPS))


@pytest.mark.parametrize("shape", SHAPES)
def test_without_the_mean_it_is_rms_norm(shape):
    x, _, _ = _input(shape)
    y = grouped_norm(x, None, None, examples=1, channels=12, center=False, eps=EPS)
    _assert_close(y, functional.rms_norm(x, shape[1:], eps=EPS))


@pytest.mark.parametrize("shape", SHAPES)
def test_all_examples_and_one_channel_are_batch_norm(shape):
    x, gamma, beta = _input(shape)
    y = grouped_norm(x, gamma, beta, examples=len(x), channels=1, eps=EPS)
    expected, _, _ = batch_norm(x, gamma, beta, None, None, training=True, momentum=0.1, eps=EPS)
    _assert_close(y, expected)


@pytest.mark.parametrize("examples", [2, 3, 4, 100])
def test_some_examples_are_ghost_batches_of_which_the_last_may_be_smaller(examples):
    x, gamma, beta = _input((8, 12, 5))
    y = grouped_norm(x, gamma, beta, examples=examples, channels=1, eps=EPS)
    parts = [
        functional.batch_norm(p, None, None, gamma, beta, True, 0, EPS) for p in x.split(examples)
    ]
    _assert_close(y, torch.cat(parts))


@pytest.mark.parametrize("center", [True, False])
def test_its_gradients_are_those_of_its_differences(center):
    x, gamma, beta = (tensor.requires_grad_() for tensor in _input((5, 4, 3)))

    def normalize(*tensors):
        return grouped_norm(*tensors, examples=2, channels=2, center=center, eps=EPS)

    assert torch.autograd.gradcheck(normalize, (x, gamma, beta))


@pytest.mark.parametrize(("examples", "channels"), [(1, 3), (1, 1), (2, 1), (3, 1)])
def test_kernels_compute_the_formula_and_its_gradients(examples, channels):
    inputs = [one.float().requires_grad_() for one in _input((6, 12, 5, 2))]
    g = _input((6, 12, 5, 2), seed=1)[0].float()
    found, before = [], kernels.calls()
    for engine in (EAGER, fast_on_cpu()):
        with running(engine, torch.device("cpu")):
            y = grouped_norm(*inputs, examples=examples, channels=channels, eps=EPS)
            found.append([y, *torch.autograd.grad(y, inputs, g)])
    assert kernels.calls() > before
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=2e-6)


def test_layer_norm_is_no_kernels_so_that_rms_norm_can_be_timed_against_it():
    x = _input((6, 12))[0].float()
    before = kernels.calls()
    with running(fast_on_cpu(), torch.device("cpu")):
        grouped_norm(x, None, None, examples=1, channels=12, eps=EPS)
        assert kernels.calls() == before
        grouped_norm(x, None, None, examples=1, channels=6, eps=EPS)
        assert kernels.calls() == before + 1


def test_half_precision_is_summed_in_float32():
    x = torch.full((2, 4, 64, 64), 200.0, dtype=torch.float16)
    x[:, :, 0, 0] = 0
    y = grouped_norm(x, None, None, examples=1, channels=4, eps=EPS)
    expected = grouped_norm(x.double(), None, None, examples=1, channels=4, eps=EPS)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.double(), expected, rtol=2e-3, atol=2e-3)


def test_a_large_mean_keeps_its_digits():
    x, _, _ = _input((3, 12, 6))
    y = grouped_norm(1e8 + x, None, None, examples=1, channels=12, eps=EPS)
    expected = grouped_norm(x, None, None, examples=1, channels=12, eps=EPS)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 12), (0, 12, 3, 3)])
def test_an_empty_batch_has_an_empty_output(shape):
    y = grouped_norm(torch.zeros(shape), None, None, examples=2, channels=3, eps=EPS)
    assert y.shape == shape


@pytest.mark.parametrize(
    ("x", "examples", "channels", "kind", "words"),
    [
        (torch.zeros(3), 1, 1, ValueError, "rank 2 or more"),
        (torch.zeros(3, 5), 1, 2, ValueError, r"channels \(=5\) must be a multiple .* \(=2\)"),
        (torch.zeros(3, 5), 1, 1, ValueError, r"more than 1 value in a group, .*\(3, 5\)"),
        (torch.zeros(1, 5), 4, 1, ValueError, "more than 1 value in a group"),
        (torch.zeros(5, 5), 4, 1, ValueError, "more than 1 value in a group"),
        (torch.zeros(3, 4, dtype=torch.long), 1, 2, NotImplementedError, "int64"),
    ],
)
def test_what_cannot_be_normalized_is_refused(x, examples, channels, kind, words):
    with pytest.raises(kind, match=words):
        grouped_norm(x, None, None, examples=examples, channels=channels, eps=EPS)


def test_one_value_has_a_mean_square():
    y = grouped_norm(torch.tensor([[3.0]]), None, None, examples=1, channels=1, center=False, eps=0)
    assert y.item() == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_group_norm_layer_is_torchs_layer(training):
    x, gamma, beta = _input((3, 12, 5, 2))
    mine, torchs = GroupNorm(12, groups=3, eps=EPS).double(), nn.GroupNorm(3, 12, EPS).double()
    for layer in (mine.train(training), torchs):
        layer.load_state_dict({"weight": gamma, "bias": beta})
    _assert_close(mine(x), torchs(x))


def test_the_rms_norm_layer_is_torchs_layer_on_vectors():
    x, gamma, _ = _input((7, 12))
    mine, torchs = RMSNorm(12, eps=EPS).double(), nn.RMSNorm(12, EPS).double()
    for layer in (mine, torchs):
        layer.load_state_dict({"weight": gamma})
    _assert_close(mine(x), torchs(x))


@pytest.mark.parametrize("layer", [GroupNorm(6, affine=False), RMSNorm(6, affine=False)])
def test_without_affine_a_layer_has_nothing_to_learn(layer):
    assert layer.state_dict() == {}
    assert layer(torch.randn(2, 6)).shape == (2, 6)


@pytest.mark.parametrize("groups", [0, -1, 4])
def test_groups_must_divide_the_channels(groups):
    with pytest.raises(ValueError, match=rf"channels \(=6\) .* groups \(={groups}\)"):
        GroupNorm(6, groups=groups)
