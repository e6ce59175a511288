"""LeNet in one call is LeNet layer by layer: held to PyTorch and the plain formulas in float64."""

import copy
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnrun import kernels
from bnrun.kernels.lenet import FORWARD_STAGES, GRADIENT_STAGES
from bnrun.networks.lenet import LeNet
from bnrun.networks.whole import take_population_in_one_call
from bnrun.norms import norm_factory
from bnrun.norms.batch_norm import BatchNorm
from bnrun.norms.population import use_population

pytestmark = pytest.mark.usefixtures("every_level")

KINDS = list(itertools.product(("sigmoid", "relu"), ("avg", "max")))
FORWARD, BACKWARD = 1, 1
"""Calls of kernels that one step takes."""


def _network(norm: str = "scratch", **settings: Any) -> LeNet:
    """Return a network whose norms scale, also by negative factors, and shift."""
    network = LeNet(norm_factory(norm, settings.pop("options", {})), seed=1, **settings)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network


def _images(count: int) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(3))


def _step(network: LeNet, images: Tensor) -> dict[str, Tensor]:
    """Return the logits of a step, the gradients of all parameters, and the moved statistics."""
    logits = network(images)
    slope = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    logits.backward(slope.to(logits.dtype))
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {"logits": logits.detach(), **gradients, **dict(network.named_buffers())}


def _right(network: LeNet) -> LeNet:
    return copy.deepcopy(network).double()


def _calls(work: Callable[[], object]) -> int:
    before = kernels.calls()
    work()
    return kernels.calls() - before


def _assert_close(found: dict[str, Tensor], right: dict[str, Tensor], tolerance: float) -> None:
    """Compare in units of the largest value; a bias before a norm has gradients of 0 and noise."""
    assert found.keys() == right.keys()
    for name, value in right.items():
        scale = value.abs().max()
        if name.endswith(".bias") and name.startswith(("conv", "fc")):
            scale = scale.maximum(right[name.replace("bias", "weight")].abs().max())
        error = (found[name].double() - value).abs().max() / scale.clamp_min(1e-30)
        assert error < tolerance, name


@pytest.mark.parametrize(("activation", "pool"), KINDS)
@pytest.mark.parametrize("count", [256, 21])
def test_a_step_is_that_of_the_layers(activation: str, pool: str, count: int) -> None:
    network = _network(activation=activation, pool=pool)
    right = _step(_right(network), _images(count).double())
    found: dict[str, Tensor] = {}
    assert _calls(lambda: found.update(_step(network, _images(count)))) == FORWARD + BACKWARD
    _assert_close(found, right, 5e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "none"},
        {"norm_places": (2, 3)},
        {"norm_places": (1, 4), "activation": "relu"},
        {"options": {"affine": False}},
        {"options": {"bias": False, "momentum": 0.7, "eps": 1e-2}},
    ],
)
def test_norms_may_be_absent_or_lack_gamma_and_beta(settings: dict[str, Any]) -> None:
    network = _network(**settings)
    right = _step(_right(network), _images(37).double())
    found: dict[str, Tensor] = {}
    assert _calls(lambda: found.update(_step(network, _images(37)))) == FORWARD + BACKWARD
    _assert_close(found, right, 5e-5)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_few_images_are_a_batch(count: int) -> None:
    """Two have the same two normalized values, with either sign, in each channel of fc1 and fc2."""
    network = _network()
    right = _step(_right(network), _images(count).double())
    _assert_close(_step(network, _images(count)), right, 1e-3)


@pytest.mark.parametrize(("activation", "pool"), KINDS)
@pytest.mark.parametrize("count", [1, 100, 300])
def test_a_prediction_is_that_of_the_layers(activation: str, pool: str, count: int) -> None:
    network = _network(activation=activation, pool=pool)
    network(_images(50))
    network.eval()
    logits: list[Tensor] = []
    with torch.no_grad():
        assert _calls(lambda: logits.append(network(_images(count)))) == FORWARD
        right = _right(network)(_images(count).double())
    _assert_close({"logits": logits[0]}, {"logits": right}, 2e-5)


@pytest.mark.parametrize("settings", [{}, {"norm_places": (2, 4), "activation": "relu"}])
@pytest.mark.parametrize("count", [300, 5])
def test_population_statistics_are_those_that_layer_by_layer_are_taken(
    count: int, settings: dict[str, Any]
) -> None:
    network, images = _network(**settings), _images(count)
    right = _right(network)
    assert _calls(lambda: take_population_in_one_call(network.eval(), images)) == FORWARD
    use_population(right, lambda: [images.double()])
    _assert_close(dict(network.named_buffers()), dict(right.named_buffers()), 1e-5)


def test_a_population_is_left_to_the_layers_where_kernels_do_not_compute_them() -> None:
    for network in (_network(), _network("builtin").eval()):
        before = copy.deepcopy(network.state_dict())
        assert not take_population_in_one_call(network, _images(5).double())
        with kernels.disabled():
            assert not take_population_in_one_call(network, _images(5))
        assert all(map(torch.equal, before.values(), network.state_dict().values()))


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5, 16, 20):
            torch.set_num_threads(threads)
            network = _network()
            step = _step(network, _images(70))
            with torch.no_grad():
                results.append([*step.values(), network.eval()(_images(70))])
            take_population_in_one_call(network, _images(70))
            results[-1] += network.buffers()
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_one_image_that_is_not_finite_spoils_a_batch_and_no_other_prediction(value: float) -> None:
    images = _images(20)
    images[3, 0, 10, 10] = value
    network = _network()
    step = _step(network, images)
    assert step["logits"].isnan().all()
    assert step["norm1.running_mean"].isfinite().tolist() == [False] * 6
    predicting = _network().eval()
    with torch.no_grad():
        logits, right = predicting(images), _right(predicting)(images.double())
    others = torch.arange(20) != 3
    torch.testing.assert_close(logits[others].double(), right[others], rtol=1e-4, atol=1e-4)
    assert bool(logits[3].isnan().all()) == bool(right[3].isnan().all())


def test_images_need_not_be_contiguous_nor_aligned() -> None:
    images = _images(18)
    right = _step(_network(), images)
    shifted = torch.empty(images.numel() + 1)[1:].view_as(images).copy_(images)
    turned = images.transpose(2, 3).contiguous().transpose(2, 3)
    for other in (shifted, turned):
        assert all(map(torch.equal, right.values(), _step(_network(), other).values()))


def test_kernels_keep_to_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_out: list[Tensor] = []

    def memory(like: Tensor, count: int) -> Tensor:
        handed_out.append(like.new_full((count + 64,), -7.0))
        return handed_out[-1][:count]

    monkeypatch.setattr(sys.modules["bnrun.kernels.lenet"], "memory", memory)
    for count in (2, 16, 17, 250):
        network = _network()
        _step(network, _images(count))
        with torch.no_grad():
            network.eval()(_images(count))
            take_population_in_one_call(network, _images(count))
    assert len(handed_out) == 4 * 4
    assert all((memory[-64:] == -7.0).all() for memory in handed_out)
    assert all((memory[:-64] != -7.0).any() for memory in handed_out)


def test_batches_are_counted_and_moving_statistics_moved_in_place() -> None:
    network = _network()
    norm = network.norm2
    assert isinstance(norm, BatchNorm)
    before = norm.running_var
    _step(network, _images(8))
    _step(network, _images(8))
    assert norm.running_var is before
    assert [int(b) for name, b in network.named_buffers() if "num_batches" in name] == [2] * 4


def test_the_seconds_of_stages_add_up_to_the_call_at_most() -> None:
    network = _network()
    with kernels.timed_stages() as seconds:
        start = time.perf_counter()
        _step(network, _images(64))
        total = time.perf_counter() - start
    assert list(seconds) == [*FORWARD_STAGES, *GRADIENT_STAGES]
    assert min(seconds.values()) > 0
    assert sum(seconds.values()) < total
    with kernels.timed_stages() as none:
        pass
    assert none == {}


class _Subclass(BatchNorm):
    pass


def _watch(network: LeNet) -> None:
    network.conv2.register_forward_hook(lambda *_: None)


def _freeze(network: LeNet) -> None:
    network.norm1.eval()


def _replace(network: LeNet) -> None:
    network.norm3 = nn.BatchNorm1d(120)


def _derive(network: LeNet) -> None:
    network.norm4 = _Subclass(84)


def _patch(network: LeNet) -> None:
    network.fc1.forward = network.fc1.forward  # type: ignore[method-assign]


def _average_equally(network: LeNet) -> None:
    network.norm1 = BatchNorm(6, momentum=None)


def _forget(network: LeNet) -> None:
    network.norm1 = BatchNorm(6, track_running_stats=False)


def _double(network: LeNet) -> None:
    network.norm2.double()


def _stop_tracking(network: LeNet) -> None:
    network.norm1.track_running_stats = False  # as people freeze a norm


def _hook_an_identity(network: LeNet) -> None:
    network.dropout.register_forward_hook(lambda module, inputs, y: 2 * y)


@pytest.mark.parametrize(
    "change",
    [
        *(_watch, _freeze, _replace, _derive, _patch, _average_equally, _forget, _double),
        *(_stop_tracking, _hook_an_identity),
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_layers_are_called_where_one_is_not_what_the_kernel_computes(
    change: Callable[[LeNet], None],
) -> None:
    network = _network()
    change(network)
    right = _right(network)
    step: dict[str, Tensor] = {}
    assert _calls(lambda: step.update(_step(network, _images(20)))) > FORWARD + BACKWARD
    _assert_close(step, _step(right, _images(20).double()), 3e-4)


@pytest.mark.parametrize("eps", [-1e-6, float("nan")])
def test_layers_are_called_with_an_eps_that_a_kernel_takes_for_no_norm(eps: float) -> None:
    network = _network(options={"eps": eps})
    assert _calls(lambda: _step(network, _images(20))) > FORWARD + BACKWARD


def test_a_convolution_whose_stride_was_changed_is_pytorchs() -> None:
    conv = _network().conv2
    x = torch.randn(2, 6, 12, 12)
    assert conv(x).shape == (2, 16, 8, 8)
    conv.stride = (2, 2)
    assert conv(x).shape == (2, 16, 4, 4)


def test_what_a_kernel_writes_is_a_new_version_to_autograd() -> None:
    network = _network()
    before = network.norm1.running_mean._version
    network(_images(4))
    assert network.norm1.running_mean._version > before


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, {"norm_position": "after"}])
def test_layers_are_called_with_dropout_and_with_norms_after_activations(
    settings: dict[str, Any],
) -> None:
    assert _calls(lambda: _step(_network(**settings), _images(4))) > FORWARD + BACKWARD


def test_gradients_of_images_and_of_predictions_come_from_the_layers() -> None:
    images = _images(6).requires_grad_()
    network = _network()
    network(images).sum().backward()
    assert images.grad is not None
    predictions = network.eval()(_images(6))
    predictions.sum().backward()
    assert network.conv1.weight.grad is not None


def test_one_image_is_refused_as_the_layer_refuses_it() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        _network()(_images(1))


def test_a_second_derivative_is_refused_not_wrong() -> None:
    network = _network()
    weight = network.fc3.weight
    (g,) = torch.autograd.grad(network(_images(4)).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()
