"""A step in one call is the batch, LeNet, the loss, its gradients and SGD, one by one."""

import copy
import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnrun import kernels
from bnrun.kernels.lenet_step import STEP_STAGES
from bnrun.networks.lenet import LeNet
from bnrun.networks.whole import lenet_step
from bnrun.norms import norm_factory
from bnrun.training.optimizer import SGD

pytestmark = pytest.mark.usefixtures("every_level")

SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
]
NETWORKS: list[dict[str, Any]] = [
    {},
    {"pool": "max", "activation": "relu"},
    {"norm": "none", "activation": "relu"},
    {"norm_places": (1, 3), "options": {"affine": False}},
]


def _network(norm: str = "scratch", **settings: Any) -> LeNet:
    return LeNet(norm_factory(norm, settings.pop("options", {})), seed=1, **settings)


def _data(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return images, torch.randint(10, (count,), generator=generator)


def _indices(count: int, sizes: list[int]) -> list[Tensor]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(4))
    return list(order[: sum(sizes)].split(sizes))


def _train(
    network: LeNet, settings: dict[str, Any], data: tuple[Tensor, Tensor], indices: list[Tensor]
) -> dict[str, Tensor]:
    """Take steps in one call each; return losses, right answers, state and velocities."""
    optimizer = SGD(network.parameters(), 0.1, **settings)
    trained, velocities = optimizer.parameters, optimizer.velocities
    one_call = lenet_step(network, *data, trained, velocities, max(map(len, indices)))
    assert one_call is not None
    losses, correct = torch.zeros(2, len(indices))
    for step, index in enumerate(indices):
        before = kernels.calls()
        one_call.take(
            *(index, losses[step], correct[step]),
            **({"momentum": 0.0, "weight_decay": 0.0, "nesterov": False} | settings),
            lr=0.1,
        )
        assert kernels.calls() - before == 1
    return _found(network, optimizer, losses, correct)


def _train_plainly(
    network: LeNet, settings: dict[str, Any], data: tuple[Tensor, Tensor], indices: list[Tensor]
) -> dict[str, Tensor]:
    """The same in float64, by PyTorch and the plain formulas."""
    network = copy.deepcopy(network).double()
    optimizer = SGD(network.parameters(), 0.1, **settings)
    images, labels = data
    losses, correct = torch.zeros(2, len(indices), dtype=torch.float64)
    for step, index in enumerate(indices):
        optimizer.zero_grad()
        logits = network(images[index].double() / 255)
        loss = F.cross_entropy(logits, labels[index])
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
        correct[step] = (logits.argmax(1) == labels[index]).sum()
    return _found(network, optimizer, losses, correct)


def _found(network: LeNet, optimizer: SGD, losses: Tensor, correct: Tensor) -> dict[str, Tensor]:
    velocities = {f"velocity {j}": v for j, v in enumerate(optimizer.velocities)}
    return {"losses": losses, "correct": correct, **network.state_dict(), **velocities}


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(settings) or "plain")
def test_three_steps_end_where_plain_ones_end(settings: dict[str, Any]) -> None:
    data, indices = _data(100), _indices(100, [40, 40, 13])
    _assert_alike(_network(), settings, data, indices)


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: " ".join(kind) or "textbook")
def test_every_network_of_the_kernels_is_trained(kind: dict[str, Any]) -> None:
    _assert_alike(_network(**kind), SETTINGS[-1], _data(300), _indices(300, [256, 33]))


def _assert_alike(
    network: LeNet, settings: dict[str, Any], data: tuple[Tensor, Tensor], indices: list[Tensor]
) -> None:
    right = _train_plainly(network, settings, data, indices)
    found = _train(network, settings, data, indices)
    assert found.keys() == right.keys()
    for name, value in right.items():
        error = (found[name].double() - value).abs().max() / value.abs().max().clamp_min(1e-2)
        assert error < 5e-4, name
    assert torch.equal(found["correct"].double(), right["correct"])


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 7, 16):
            torch.set_num_threads(threads)
            results.append(_train(_network(), SETTINGS[-1], _data(90), _indices(90, [70, 19])))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0].values(), other.values()))


def test_it_keeps_to_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_out: list[Tensor] = []

    def memory(like: Tensor, count: int) -> Tensor:
        handed_out.append(like.new_full((count + 64,), -7.0))
        return handed_out[-1][:count]

    monkeypatch.setattr(sys.modules["bnrun.kernels.lenet_step"], "memory", memory)
    for size in (2, 16, 17, 250):
        _train(_network(), SETTINGS[-1], _data(size), _indices(size, [size]))
    assert len(handed_out) == 4 * 2
    assert all((memory[-64:] == -7.0).all() for memory in handed_out)


@pytest.mark.parametrize("label", [-1, 10, 2**40])
def test_a_label_that_is_no_class_makes_the_loss_nan(label: int) -> None:
    images, labels = _data(20)
    labels[7] = label
    found = _train(_network(), {}, (images, labels), _indices(20, [20]))
    assert found["losses"].isnan().all()


def test_stages_of_a_step_are_timed() -> None:
    with kernels.timed_stages() as seconds:
        _train(_network(), {}, _data(20), _indices(20, [20]))
    assert tuple(seconds) == STEP_STAGES
    assert min(seconds.values()) > 0


def _step_of(network: LeNet, *, velocities: Sequence[Tensor] = ()) -> kernels.LeNetStep | None:
    return lenet_step(network, *_data(8), list(network.parameters()), velocities, 8)


def test_layers_are_called_where_not_every_parameter_is_trained() -> None:
    network, (images, labels) = _network(), _data(8)
    trained = list(network.parameters())
    assert lenet_step(network, images, labels, trained, [], 8) is not None
    assert lenet_step(network, images, labels, trained[1:], [], 8) is None
    assert lenet_step(network, images.float(), labels, trained, [], 8) is None
    network.fc2.weight.requires_grad_(False)
    assert _step_of(network) is None
    assert _step_of(_network().eval()) is None


def _hook_the_model(network: LeNet) -> None:
    network.register_forward_hook(lambda *_: None)


def _patch_the_model(network: LeNet) -> None:
    network.forward = network.forward  # type: ignore[method-assign]


def _hook_a_parameter(network: LeNet) -> None:
    network.fc1.weight.register_hook(lambda g: 0 * g)


def _hook_what_is_accumulated(network: LeNet) -> None:
    network.fc1.weight.register_post_accumulate_grad_hook(lambda p: None)


def _share_a_parameter(network: LeNet) -> None:
    network.norm2.bias = network.norm2.weight


@pytest.mark.parametrize(
    "change",
    [
        *(_hook_the_model, _patch_the_model, _hook_a_parameter, _hook_what_is_accumulated),
        _share_a_parameter,
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_layers_are_called_where_a_step_would_pass_over_something(
    change: Callable[[LeNet], None],
) -> None:
    network = _network()
    change(network)
    assert _step_of(network) is None


def test_layers_are_called_under_anomaly_detection() -> None:
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        assert _step_of(_network()) is None


def test_velocities_of_another_dtype_are_refused() -> None:
    network = _network()
    wide = [torch.zeros_like(p, dtype=torch.float64) for p in network.parameters()]
    assert _step_of(network, velocities=wide) is None


def test_parameters_that_have_become_another_dtype_are_refused() -> None:
    network = _network()
    one_call = _step_of(network)
    assert one_call is not None
    network.half()
    with pytest.raises((TypeError, ctypes.ArgumentError), match="torch.float32"):
        one_call.take(
            *(torch.arange(8), torch.zeros(()), torch.zeros(())),
            **{"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
        )


def test_what_a_step_writes_is_a_new_version_to_autograd() -> None:
    network, data = _network(), _data(20)
    loss = network(data[0].float()).sum()
    _train(network, {}, data, _indices(20, [20]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
