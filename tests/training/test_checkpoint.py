"""A captured state holds all that a run needs to continue."""

import io
from collections import defaultdict

import pytest
import torch
from torch import Tensor, nn

from bnrun.training.checkpoint import capture, restore
from bnrun.training.optimizer import SGD


class Keeps(nn.Module):
    """A layer as learners write it: state in all the places where it can be kept, and dropout."""

    hidden: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.moving_mean = torch.zeros(3)
        self.batches = 0
        self.batches_by_size = defaultdict[int, int](int)
        self._private = torch.zeros(3)
        self.history: list[Tensor] = []
        self.register_buffer("hidden", torch.zeros(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.nn.functional.dropout(self.linear(x), 0.5)
        self.moving_mean = 0.9 * self.moving_mean + 0.1 * y.mean(0)  # it keeps the graph alive
        self.batches += 1
        self.batches_by_size[len(x)] += 1
        self._private = self._private + 1
        self.history.append(y.detach().sum())
        self.hidden += y.detach().mean(0)
        return y


def _make() -> tuple[Keeps, SGD]:
    model = Keeps()
    return model, SGD(model.parameters(), lr=0.1, momentum=0.9)


def _steps(model: nn.Module, optimizer: SGD, count: int) -> list[Tensor]:
    outputs = []
    for step in range(count):
        y = model(torch.full((4, 3), float(step)))
        optimizer.zero_grad()
        y.square().sum().backward(retain_graph=True)
        optimizer.step()
        if isinstance(model, Keeps):
            model.moving_mean = model.moving_mean.detach()
        outputs.append(y.detach())
    return outputs


def _through_a_file(state: dict[str, object]) -> dict[str, object]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, object] = torch.load(file, weights_only=True)
    return loaded


def test_a_restored_run_continues_bit_for_bit() -> None:
    torch.manual_seed(3)
    model, optimizer = _make()
    _steps(model, optimizer, 3)
    state = _through_a_file(capture(model, optimizer))
    went_on = _steps(model, optimizer, 4)

    torch.manual_seed(99)
    other, other_optimizer = _make()
    _steps(other, other_optimizer, 1)
    restore(state, other, other_optimizer)
    resumed = _steps(other, other_optimizer, 4)

    assert all(torch.equal(a, b) for a, b in zip(went_on, resumed, strict=True))
    assert torch.equal(model.moving_mean, other.moving_mean)
    assert other.batches == 7
    assert other.batches_by_size == {4: 7}
    assert type(other.batches_by_size) is defaultdict
    assert torch.equal(model._private, other._private)
    assert torch.equal(model.hidden, other.hidden)
    assert torch.equal(torch.stack(model.history), torch.stack(other.history))


def test_a_captured_state_does_not_move_with_the_training() -> None:
    model, optimizer = _make()
    _steps(model, optimizer, 1)
    state = capture(model, optimizer)
    before = state["model"]["linear.weight"].clone()
    _steps(model, optimizer, 2)
    assert torch.equal(state["model"]["linear.weight"], before)
    assert state["attributes"][""]["batches"] == 1
    assert not state["attributes"][""]["moving_mean"].requires_grad


class Expanded(nn.Linear):
    """Starts from one value that all channels share, and replaces it by a value for each."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.moving_var = torch.ones(1).expand(3)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.moving_var = 0.9 * self.moving_var + 0.1 * y.detach().var(0)
        return y


@pytest.mark.parametrize("steps", [0, 2])
def test_an_expanded_tensor_is_restored(steps: int) -> None:
    model, other = Expanded(), Expanded()
    optimizer = SGD(model.parameters(), lr=0.1)
    _steps(model, optimizer, steps)
    restore(_through_a_file(capture(model, optimizer)), other, SGD(other.parameters(), lr=0.1))
    assert torch.equal(other.moving_var, model.moving_var)


def test_the_state_of_another_model_is_refused() -> None:
    model, optimizer = _make()
    state = capture(nn.Linear(2, 2), SGD(nn.Linear(2, 2).parameters(), lr=1))
    with pytest.raises(RuntimeError, match="Missing key"):
        restore(state, model, optimizer)
