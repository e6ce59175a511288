"""Our SGD takes the steps of torch.optim.SGD, to the bit."""

import copy

import pytest
import torch
from torch import nn

from bnrun.training.optimizer import SGD

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
