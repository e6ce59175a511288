"""A norm that normalizes a batch in pieces: the grouped formula, and otherwise the same layer."""

import copy

import pytest
import torch
from torch.testing import assert_close

from bnrun.config import Config
from bnrun.networks.whole import can_be_one_call
from bnrun.norms import norm_factory
from bnrun.norms.grouped import grouped_norm
from bnrun.norms.pieces import in_pieces
from bnrun.training.engine import fast_on_cpu, running
from bnrun.training.model import build_model

EPS = 1e-3
SHAPES = [(8, 3), (8, 3, 2, 5)]  # pieces of 3 examples, of 3 and of 2


def _layers(norm, shape):
    """A layer in pieces of three and a plain one, in float64 with the same random gamma."""
    factory = norm_factory(norm, {"eps": EPS})
    layers = [make(shape[1], len(shape)).double() for make in (in_pieces(factory, 3), factory)]
    torch.manual_seed(0)
    with torch.no_grad():
        layers[0].weight.uniform_(0.5, 2)
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


def _input(shape):
    return torch.randn(shape, dtype=torch.float64).mul_(2).add_(3).requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", ["scratch", "builtin"])
def test_a_batch_norm_in_pieces_is_the_grouped_formula_with_its_gradients(norm, shape):
    layer, _ = _layers(norm, shape)
    x, g = _input(shape), torch.randn(shape, dtype=torch.float64)
    y = layer(x)
    expected = grouped_norm(x, layer.weight, layer.bias, examples=3, channels=1, eps=EPS)
    assert_close(y, expected, rtol=1e-12, atol=1e-12)
    inputs = (x, layer.weight, layer.bias)
    ours, theirs = (torch.autograd.grad(one, inputs, g) for one in (y, expected))
    assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_renorm_normalizes_all_pieces_as_it_normalizes_each(shape):
    layer, plain = _layers("renorm", shape)
    for one in (layer, plain):
        one.warmup = 1  # the first piece is not corrected, and the bounds grow from the second on
    x, g = _input(shape), torch.randn(shape, dtype=torch.float64)
    for _ in range(2):
        y, expected = layer(x), torch.cat([plain(x[at : at + 3]) for at in (0, 3, 6)])
        assert_close(y, expected, rtol=1e-12, atol=1e-12)
        ours, theirs = (
            torch.autograd.grad(out, (x, one.weight, one.bias), g)
            for out, one in ((y, layer), (expected, plain))
        )
        assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    assert_close(dict(layer.named_buffers()), dict(plain.named_buffers()), rtol=1e-14, atol=0)


@pytest.mark.parametrize("norm", ["scratch", "renorm"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("of_input", "of_layer"),
    [
        (torch.float64, torch.float32),
        (torch.float32, torch.float64),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.bfloat16),
    ],
)
def test_pieces_of_another_dtype_than_the_layers_are_normalized_as_each(
    norm, shape, of_input, of_layer
):
    layer, plain = (one.to(of_layer) for one in _layers(norm, shape))
    if norm == "renorm":
        layer.warmup = plain.warmup = 1
    x = _input(shape).detach().to(of_input)
    near = {"rtol": 1e-5, "atol": 1e-5}
    if torch.bfloat16 in (of_input, of_layer):
        near = {"rtol": 0.02, "atol": 0.05}
    y, expected = layer(x), torch.cat([plain(x[at : at + 3]) for at in (0, 3, 6)])
    assert y.dtype == expected.dtype == of_input
    assert_close(y, expected, **near)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert_close(layer.weight.grad, plain.weight.grad, **near)
    assert_close(dict(layer.named_buffers()), dict(plain.named_buffers()), **near)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_moving_statistics_are_updated_after_each_piece(momentum):
    layer, plain = _layers("scratch", SHAPES[0])
    layer.momentum = plain.momentum = momentum
    x = _input(SHAPES[0])
    layer(x)
    for piece in (x[:3], x[3:6], x[6:]):
        plain(piece)
    assert_close(dict(layer.named_buffers()), dict(plain.named_buffers()), rtol=1e-14, atol=0)
    assert layer.num_batches_tracked == 3


@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_normalize_all_pieces_as_they_normalize_each(shape):
    layer, plain = (one.float() for one in _layers("scratch", shape))
    x, g = _input(shape).detach().float(), torch.randn(shape)
    with running(fast_on_cpu(), torch.device("cpu")):
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y = layer(ours)
        expected = torch.cat([plain(theirs[at : at + 3]) for at in (0, 3, 6)])
        assert torch.equal(y, expected)
        (d_x,) = torch.autograd.grad(y, ours, g)
        assert torch.equal(d_x, torch.autograd.grad(expected, theirs, g)[0])


def test_in_evaluation_the_whole_batch_is_one_input():
    layer, plain = _layers("scratch", SHAPES[0])
    seen = []
    inner = layer.forward._forward
    layer.forward._forward = lambda x: seen.append(len(x)) or inner(x)
    x = _input(SHAPES[0])
    assert torch.equal(layer.eval()(x), plain.eval()(x))
    assert seen == [8]
    layer.train()(x)
    assert seen == [8, 2]  # whole pieces are one call, and the rest another


def test_a_layer_in_pieces_is_the_layer_itself_to_state_dicts_and_hooks():
    layer, plain = _layers("scratch", SHAPES[0])
    assert type(layer) is type(plain)
    assert list(layer.state_dict()) == list(plain.state_dict())
    assert list(layer.named_modules()) == [("", layer)]
    seen = []
    layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.shape))
    layer(_input(SHAPES[0]))
    assert seen == [SHAPES[0]]


def test_a_copy_in_pieces_updates_its_own_statistics():
    layer, _ = _layers("scratch", SHAPES[0])
    twin = copy.deepcopy(layer)
    twin(_input(SHAPES[0]))
    assert (int(twin.num_batches_tracked), int(layer.num_batches_tracked)) == (3, 0)


@pytest.mark.parametrize("norm", ["scratch", "renorm"])
def test_pieces_of_one_value_are_refused(norm):
    layer = in_pieces(norm_factory(norm, {}), 1)(3, 2)
    with (
        running(fast_on_cpu(), torch.device("cpu")),
        pytest.raises(ValueError, match="more than 1"),
    ):
        layer(torch.randn(4, 3))


def test_a_network_in_pieces_predicts_in_one_call_what_it_predicts_without():
    config = Config(training={"norm_batch": 16})
    images = torch.rand(20, 1, 28, 28)
    model, plain = (build_model(one).eval() for one in (config, Config()))
    with running(fast_on_cpu(), torch.device("cpu")), torch.no_grad():
        assert can_be_one_call(model)
        assert torch.equal(model(images), plain(images))
        assert not can_be_one_call(model.train())


@pytest.mark.parametrize("norm", ["none", "group", "rms"])
def test_what_normalizes_each_example_by_itself_has_no_pieces(norm):
    layer, plain = (
        make(6, 4) for make in (in_pieces(norm_factory(norm, {}), 3), norm_factory(norm, {}))
    )
    x = torch.randn(8, 6, 2, 5)
    assert "forward" not in vars(layer)
    assert_close(layer(x), torch.cat([plain(piece) for piece in x.split(3)]))
