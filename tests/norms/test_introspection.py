"""A norm's values are found by name and shape, wherever a module keeps them."""

import pytest
import torch
from torch import Tensor, nn

from bnrun.norms import NORMS
from bnrun.norms.introspection import MovingStatistics, channel_values, named_values

C = 5


class Own(nn.Module):
    """A learner's norm: moving statistics as parameters that are not trained, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1, C))
        self.moving_mean = nn.Parameter(torch.rand(1, C, 1, 1), requires_grad=False)
        self.register_buffer("moving_variance", torch.rand(C), persistent=False)


class Wraps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.BatchNorm1d(C)


@pytest.mark.parametrize("num_dims", [2, 4])
@pytest.mark.parametrize("norm", ["scratch", "builtin", "textbook"])
def test_the_norms_of_the_registry_have_all_four_values(norm: str, num_dims: int) -> None:
    found = channel_values(named_values(NORMS[norm](C, num_dims)))
    assert found is not None
    assert found.channels == C
    for vector, start in (
        (found.gamma, 1.0),
        (found.beta, 0.0),
        (found.moving_mean, 0.0),
        (found.moving_var, 1.0),
    ):
        assert vector is not None
        assert vector.flatten().tolist() == [start] * C


def test_what_a_norm_lacks_is_none() -> None:
    module = Own()
    found = channel_values(named_values(module))
    assert found is not None
    assert found.gamma is module.scale
    assert found.beta is None
    assert found.moving_mean is module.moving_mean
    assert found.moving_var is module.moving_variance


@pytest.mark.parametrize(
    "module",
    [
        nn.Identity(),
        nn.Conv2d(3, C, 3, bias=False),
        nn.Conv2d(1, C, 1, bias=False),
        nn.Linear(1, C, bias=False),
        nn.LayerNorm((C, 4)),
        nn.BatchNorm1d(C, affine=False, track_running_stats=False),
        Wraps(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_modules_have_nothing(module: nn.Module) -> None:
    assert channel_values(named_values(module)) is None


@pytest.mark.parametrize(
    ("shape", "is_one"),
    [
        *[((C,), True), ((1, C), True), ((1, C, 1), True), ((1, C, 1, 1), True), ((C, 1, 1), True)],
        *[((C, 1), False), ((C, 1, 1, 1), False), ((1, 1, C), False), ((C, C), False)],
        *[((), False), ((0,), False), ((0, C), False)],
    ],
)
def test_a_vector_is_known_by_its_shape(shape: tuple[int, ...], is_one: bool) -> None:
    assert (channel_values({"gamma": torch.ones(shape)}) is not None) is is_one


def test_vectors_of_different_lengths_are_no_norm_and_a_shared_value_is_left_out() -> None:
    assert channel_values({"gamma": torch.ones(C), "beta": torch.ones(C + 1)}) is None
    shared = channel_values({"gamma": torch.ones(1), "running_mean": torch.ones(C)})
    assert shared is not None
    assert shared.gamma is None
    assert shared.channels == C


@pytest.mark.parametrize("value", [None, 1.0, "ones", [1.0] * C, torch.ones(C).long()])
def test_values_that_are_not_floating_point_tensors_are_skipped(value: object) -> None:
    assert channel_values({"gamma": value}) is None
    found = channel_values({"weight": value, "gamma": torch.ones(C)})
    assert found is not None
    assert found.gamma is not None


def test_moving_statistics_are_found_below_wrappers_in_order() -> None:
    model = nn.Sequential(nn.Linear(C, C), Wraps(), Own(), nn.BatchNorm1d(C, affine=False))
    assert list(MovingStatistics.find(model)) == ["1.inner", "2", "3"]
    untracked = nn.BatchNorm1d(C, track_running_stats=False)
    assert MovingStatistics.find(nn.Sequential(untracked, nn.Identity())) == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_new_values_take_the_shape_dtype_and_kind_of_the_old(dtype: torch.dtype) -> None:
    module = Own().to(dtype)
    names = list(module.state_dict())
    moving = MovingStatistics.find(module)[""]
    mean, var = (torch.arange(C).double() + start for start in (0, 10))
    moving.replace(mean, var)
    assert isinstance(module.moving_mean, nn.Parameter)
    assert not module.moving_mean.requires_grad
    assert "moving_variance" in dict(module.named_buffers())
    assert list(module.state_dict()) == names
    new: tuple[Tensor, Tensor] = moving.tensors()
    assert [tensor.dtype for tensor in new] == [dtype, dtype]
    assert [tuple(tensor.shape) for tensor in new] == [(1, C, 1, 1), (C,)]
    assert new[0].flatten().tolist() == mean.tolist()
    assert new[1].tolist() == var.tolist()
    mean.zero_()  # the module has a copy
    assert new[0].flatten().tolist() != mean.tolist()
