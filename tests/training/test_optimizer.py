"""SGD and the learning rate are those of `torch.optim`: the steps to the bit, the rate to 1e-9."""

import copy

import pytest
import torch
from torch import nn

from bnrun.training.optimizer import SGD, learning_rate

SETTINGS = [
    {},
    {"weight_decay": 5e-4},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.5, "nesterov": True, "weight_decay": 1e-2},
]


def _step(model: nn.Module, optimizer: SGD | torch.optim.SGD, seed: int) -> None:
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("settings", SETTINGS)
def test_steps_are_those_of_torch(settings: dict[str, float]) -> None:
    ours = nn.Sequential(nn.Linear(5, 7), nn.Sigmoid(), nn.Linear(7, 2))
    theirs = copy.deepcopy(ours)
    mine = SGD(ours.parameters(), 0.3, **settings)
    reference = torch.optim.SGD(theirs.parameters(), 0.3, **settings)
    for step in range(6):
        mine.lr = reference.param_groups[0]["lr"] = 0.3 / (step + 1)
        _step(ours, mine, step)
        _step(theirs, reference, step)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_without_a_gradient_stays() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = SGD([used, unused], 0.1, momentum=0.9, weight_decay=0.1)
    used.sum().backward()
    optimizer.step()
    assert used.tolist() != [1, 1]
    assert unused.tolist() == [1, 1]


def test_the_state_of_other_parameters_is_refused() -> None:
    optimizer = SGD([torch.zeros(3)], 0.1, momentum=0.9)
    with pytest.raises(RuntimeError):
        optimizer.load_state_dict({"velocities": [torch.zeros(2)]})
    with pytest.raises(ValueError, match="shorter"):
        optimizer.load_state_dict({"velocities": []})


@pytest.mark.parametrize("steps", [10, 235, 940])
def test_one_cycle_is_the_curve_of_torch(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.7, total_steps=steps, cycle_momentum=False
    )
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate("one-cycle", 0.7, step, steps) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        if step + 1 < steps:
            reference.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_one_cycle_of_a_few_steps_stays_positive_and_below_the_peak(steps: int) -> None:
    rates = [learning_rate("one-cycle", 2.0, step, steps) for step in range(steps)]
    assert all(0 < rate <= 2.0 for rate in rates)


def test_constant_is_the_peak_throughout() -> None:
    assert {learning_rate("constant", 0.5, step, 9) for step in range(9)} == {0.5}
