"""Norm `scratch` against torch's layers, always from random state."""

import copy
import inspect
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from bnrun.norms import BatchNorm

C = 3
TORCH = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
SHAPES = {2: (7, C), 3: (4, C, 5), 4: (3, C, 4, 2), 5: (2, C, 2, 3, 2)}
KEYS = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
TORCH_HAS_BIAS = "bias" in inspect.signature(nn.BatchNorm2d).parameters


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random_state(layer):
    """A state in which no value is the default's."""
    return OrderedDict(
        (key, torch.rand_like(value) + 0.5 if value.is_floating_point() else torch.tensor(17))
        for key, value in layer.state_dict().items()
    )


def pair(rank=4, dtype=torch.float64, **arguments):
    """Torch's layer and ours, in the same random state."""
    theirs = TORCH[rank](C, **arguments).to(dtype)
    ours = BatchNorm(C, **arguments).to(dtype)
    state = random_state(theirs)
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    return theirs, ours


def batch(rank=4, dtype=torch.float64):
    return (2 * torch.randn(SHAPES[rank]) + 3).to(dtype)


def assert_same_state(theirs, ours, **tolerance):
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key], value, equal_nan=True, **tolerance)


def assert_same(theirs, ours, x, rtol=0, atol=1e-10):
    """One step of both on x: output, gradients of input and parameters, and buffers."""
    tolerance = {"rtol": rtol, "atol": atol}
    dy = torch.randn(x.shape).to(x.dtype)
    results = []
    for layer in (theirs, ours):
        layer.zero_grad()
        leaf = x.detach().requires_grad_()
        y = layer(leaf)
        y.backward(dy)
        results.append([y, leaf.grad, *(p.grad for p in layer.parameters())])
    for expected, got in zip(*results, strict=True):
        assert_close(got, expected, **tolerance)
    assert_same_state(theirs, ours, **tolerance)


def assert_same_in_both_modes(theirs, ours, batches, **tolerance):
    for x in batches:
        assert_same(theirs.train(), ours.train(), x, **tolerance)
    assert_same(theirs.eval(), ours.eval(), batches[0], **tolerance)


@pytest.mark.parametrize("rank", TORCH)
def test_it_trains_and_evaluates_like_torch(rank):
    assert_same_in_both_modes(*pair(rank), [batch(rank) for _ in range(3)])


@pytest.mark.parametrize("track_running_stats", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_every_argument_means_what_it_means_in_torch(eps, momentum, affine, track_running_stats):
    layers = pair(
        eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats
    )
    assert_same_in_both_modes(*layers, [batch() for _ in range(3)])


@pytest.mark.skipif(not TORCH_HAS_BIAS, reason="this torch's BatchNorm2d has no argument bias")
def test_a_layer_without_bias_is_like_torchs():
    theirs, ours = pair(bias=False)
    assert ours.bias is None
    assert_same_in_both_modes(theirs, ours, [batch(), batch()])


def test_the_arguments_come_in_torchs_order():
    ours = list(inspect.signature(BatchNorm).parameters)
    theirs = list(inspect.signature(nn.BatchNorm2d).parameters)
    assert ours[: len(theirs)] == theirs


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_first_batches_of_a_new_layer_count_as_in_torch(momentum):
    theirs = nn.BatchNorm2d(C, momentum=momentum).double()
    ours = BatchNorm(C, momentum=momentum).double()
    assert_same_in_both_modes(theirs, ours, [batch() for _ in range(3)])


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_a_batch_of_one_trains_where_it_has_several_positions(rank):
    assert_same_in_both_modes(*pair(rank), [batch(rank)[:1]])


# ---- state_dict


@pytest.mark.parametrize("arguments", [{}, {"affine": False}, {"track_running_stats": False}])
def test_the_state_dict_is_torchs_both_ways(arguments):
    theirs, ours = nn.BatchNorm2d(C, **arguments), BatchNorm(C, **arguments)
    assert list(ours.state_dict()) == list(theirs.state_dict())

    ours.load_state_dict(random_state(theirs), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)

    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
        assert ours.state_dict()[key].dtype == value.dtype


def test_the_state_dict_has_torchs_keys():
    assert list(BatchNorm(C).state_dict()) == KEYS


@pytest.mark.parametrize("version", [None, 1])
def test_a_state_dict_from_before_num_batches_tracked_loads_as_in_torch(version):
    theirs, ours = (nn.Sequential(layer) for layer in pair())
    old = random_state(theirs)
    del old["0.num_batches_tracked"]
    if version is not None:
        old._metadata = {"": {"version": 1}, "0": {"version": version}}
    for model in (theirs, ours):
        model.load_state_dict(copy.deepcopy(old), strict=True)
    assert_same_state(theirs, ours, rtol=0, atol=0)


def test_a_current_state_dict_must_hold_num_batches_tracked():
    state = BatchNorm(C).state_dict()
    del state["num_batches_tracked"]
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        BatchNorm(C).load_state_dict(state)


# ---- errors


def refusal(layer, x):
    """The type of error a layer answers with; None where it accepts."""
    try:
        layer(x)
    except Exception as error:
        return type(error)
    return None


REFUSED = pytest.mark.parametrize(
    ("rank", "shape"),
    [
        pytest.param(2, (1, C), id="one value, 2D"),
        pytest.param(3, (1, C, 1), id="one value, 3D"),
        pytest.param(4, (1, C, 1, 1), id="one value, 4D"),
        pytest.param(5, (1, C, 1, 1, 1), id="one value, 5D"),
        pytest.param(2, (7, C + 1), id="one channel too many, 2D"),
        pytest.param(4, (3, C + 1, 2, 2), id="one channel too many, 4D"),
        pytest.param(4, (3, 1, 2, 2), id="a single channel"),
        pytest.param(4, (1, C + 1, 1, 1), id="one value and wrong channels"),
        pytest.param(4, (), id="rank 0"),
        pytest.param(4, (C,), id="rank 1"),
        pytest.param(4, (2, C, 2, 2, 2, 2), id="rank 6"),
    ],
)


@MODES
@REFUSED
def test_it_refuses_what_torch_refuses_with_the_same_error(rank, shape, training):
    theirs, ours = (layer.train(training) for layer in pair(rank))
    x = torch.randn(shape).double()
    assert refusal(ours, x) is refusal(theirs, x)


@MODES
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_it_refuses_numbers_that_are_not_floating_point_as_torch_does(dtype, training):
    theirs, ours = (layer.train(training) for layer in pair(2))
    x = torch.ones(7, C, dtype=dtype)
    assert refusal(ours, x) is refusal(theirs, x) is NotImplementedError


@REFUSED
def test_a_refused_batch_is_counted_only_where_torch_counts_it(rank, shape):
    theirs, ours = pair(rank)
    for layer in (theirs, ours):
        refusal(layer, torch.randn(shape).double())
    assert_same_state(theirs, ours, rtol=0, atol=0)


# ---- what one does with a module


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_a_copy_goes_on_alone(duplicate):
    theirs, ours = pair(momentum=None)
    twin = duplicate(ours)
    before = copy.deepcopy(ours.state_dict())
    assert_same_in_both_modes(theirs, twin, [batch(), batch()])
    for key, value in before.items():
        assert torch.equal(ours.state_dict()[key], value)


def test_double_makes_everything_double_but_the_count():
    dtypes = [value.dtype for value in BatchNorm(C).double().state_dict().values()]
    assert dtypes == [torch.float64] * 4 + [torch.int64]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layer_dtype", ["the input's", "float32"])
def test_half_precision_is_like_torchs(dtype, layer_dtype):
    layers = pair(dtype=torch.float32 if layer_dtype == "float32" else dtype)
    step = torch.finfo(dtype).eps  # torch rounds in between: a few last bits may differ
    assert_same_in_both_modes(*layers, [batch(dtype=dtype)], rtol=4 * step, atol=4 * step)


@MODES
@pytest.mark.parametrize(
    ("rank", "memory_format"), [(4, torch.channels_last), (5, torch.channels_last_3d)]
)
def test_channels_last_stays_channels_last(rank, memory_format, training):
    theirs, ours = (layer.train(training) for layer in pair(rank))
    x = batch(rank).to(memory_format=memory_format)
    assert_same(theirs, ours, x)
    assert theirs(x).is_contiguous(memory_format=memory_format)
    assert ours(x).is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(C, 4, 5, 2).double().transpose(0, 1),
        torch.randn(4, C, 5, 6).double()[:, :, ::2, 1::3],
        torch.randn(4, C, 1, 1).double().expand(4, C, 2, 2),
        torch.randn(4, C, 5, 2).double().flip(0).transpose(2, 3),
    ],
    ids=["transposed", "sliced", "expanded", "flipped"],
)
def test_non_contiguous_input_is_like_torchs(x):
    assert not x.is_contiguous()
    assert_same_in_both_modes(*pair(), [x])


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("rank", "shape"), [(2, (0, C)), (4, (0, C, 2, 2)), (4, (2, C, 0, 2))])
def test_an_empty_batch_is_like_torchs(rank, shape, momentum):
    theirs, ours = pair(rank, momentum=momentum)
    x = torch.empty(shape, dtype=torch.float64)
    assert_same(theirs, ours, x)
    assert_same(theirs.eval(), ours.eval(), x)


@MODES
@pytest.mark.parametrize("rank", TORCH)
def test_double_backward_is_torchs(rank, training):
    x, dy = batch(rank), torch.randn(SHAPES[rank]).double()
    results = []
    for layer in pair(rank):
        layer.train(training)
        leaf = x.clone().requires_grad_()
        loss = (layer(leaf) * dy).square().sum()
        grads = torch.autograd.grad(loss, [leaf, layer.weight, layer.bias], create_graph=True)
        sum(g.square().sum() for g in grads).backward()
        results.append([leaf.grad, layer.weight.grad, layer.bias.grad])
    for expected, got in zip(*results, strict=True):
        assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_it_works_without_torchs_batch_norm(monkeypatch):
    theirs, ours = pair()

    def refuse(*args, **kwargs):
        raise AssertionError("torch's batch norm was called")

    for owner, name in [(torch, "batch_norm"), (F, "batch_norm"), (torch, "native_batch_norm")]:
        monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(AssertionError):
        theirs(batch())
    ours(batch()).sum().backward()
    ours.eval()(batch())


class Operators(TorchDispatchMode):
    """Collects the names of the operators that really run, whoever calls them."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_no_normalization_operator_of_torch_runs():
    ran = []
    for layer in pair():
        with Operators() as operators:
            layer(batch().requires_grad_()).sum().backward()
            layer.eval()(batch())
        ran.append(any("norm" in name for name in operators.names))
    assert ran == [True, False]  # torch's layer is caught, ours isn't


@pytest.mark.parametrize("momentum", [0.1, None])
def test_buffers_are_updated_in_place(momentum):
    _, ours = pair(momentum=momentum)
    buffers = dict(ours.named_buffers())
    before = {name: (buffer.data_ptr(), buffer.clone()) for name, buffer in buffers.items()}
    ours(batch())
    for name, buffer in ours.named_buffers():
        assert buffer is buffers[name]
        place, value = before[name]
        assert buffer.data_ptr() == place
        assert not torch.equal(buffer, value)
        assert buffer.grad_fn is None


def test_evaluation_changes_no_buffer():
    _, ours = pair()
    before = copy.deepcopy(ours.state_dict())
    ours.eval()(batch())
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_mode_depends_on_train_and_eval_and_not_on_gradients():
    theirs, ours = pair()
    x = batch()
    for training in (True, False):
        with torch.no_grad():
            got, expected = (layer.train(training)(x) for layer in (ours, theirs))
        assert_close(got, expected, rtol=0, atol=1e-10)
        assert_same_state(theirs, ours, rtol=0, atol=1e-10)


@pytest.mark.parametrize("built_with", [True, False])
def test_track_running_stats_can_be_switched_after_construction(built_with):
    theirs, ours = pair(track_running_stats=built_with)
    for layer in (theirs, ours):
        layer.track_running_stats = not built_with
    assert_same_in_both_modes(theirs, ours, [batch(), batch()])
    for layer in (theirs, ours):
        layer.track_running_stats = built_with
    assert_same_in_both_modes(theirs, ours, [batch()])


def test_functional_call_uses_and_moves_the_given_state_alone():
    theirs, ours = pair()
    own = copy.deepcopy(ours.state_dict())
    x, their_state = batch(), random_state(theirs)
    our_state = copy.deepcopy(their_state)

    expected = functional_call(theirs, their_state, (x,))
    assert_close(functional_call(ours, our_state, (x,)), expected, rtol=0, atol=1e-10)

    assert_close(our_state, their_state, rtol=0, atol=1e-10)
    assert our_state["num_batches_tracked"] == 18
    for key, value in ours.state_dict().items():
        assert torch.equal(value, own[key]), key


@pytest.mark.parametrize("switched_off", [False, True])
@pytest.mark.parametrize("reset", ["reset_parameters", "reset_running_stats"])
def test_resetting_is_like_torchs(reset, switched_off):
    theirs, ours = pair()
    for layer in (theirs, ours):
        if switched_off:
            layer.track_running_stats = False
        getattr(layer, reset)()
    assert_same_state(theirs, ours, rtol=0, atol=0)


def test_the_repr_shows_the_arguments():
    shown = repr(
        BatchNorm(C, eps=0.25, momentum=None, affine=True, track_running_stats=False, bias=False)
    )
    assert shown.startswith("BatchNorm(3, ")
    for argument in ["eps=0.25", "momentum=None", "affine=True", "track_running_stats=False"]:
        assert argument in shown
    assert "bias=False" in shown
