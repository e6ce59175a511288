"""The two ways to take steps are the same steps; of a CUDA graph, what can be seen without one."""

from typing import Any

import pytest
import torch

from bnrun.config import parse_override, resolve
from bnrun.data.dataset import Split
from bnrun.data.synthetic import synthetic
from bnrun.training.step import build_model, build_optimizer
from bnrun.training.steps import CapturedSteps, PlainSteps, Steps

RATES = [0.1, 0.05, 0.2, 0.1, 0.01]


@pytest.fixture(scope="module")
def train() -> Split:
    """290 images: four batches of 64, and one of 34."""
    return synthetic().train.take(torch.arange(290))


class _Graph:
    """Stands for a captured graph: replaying it takes the step that was recorded."""

    def __init__(self, steps: CapturedSteps, size: int) -> None:
        self.steps, self.size = steps, size

    def replay(self) -> None:
        rate, self.steps._optimizer.lr = self.steps._optimizer.lr, self.steps._lr
        self.steps._body(self.size)
        self.steps._optimizer.lr = rate


def _record(steps: CapturedSteps, size: int) -> _Graph:
    """Leave the traces that warming up and recording do."""
    steps._lr.fill_(0.5)
    for _ in range(3):
        steps._body(size)
        steps._step.zero_()
    return _Graph(steps, size)


def _two_epochs(kind: type[Any], train: Split) -> tuple[list[float], dict[str, Any]]:
    stated = "optimizer={momentum: 0.9, nesterov: true, weight_decay: 0.01}"
    config = resolve(None, parse_override(stated)).config
    device = train.labels.device
    model = build_model(config).to(device)
    optimizer = build_optimizer(config, model)
    steps: Steps = kind(model, optimizer, train, 64)
    figures = []
    for epoch in (1, 2):
        order = torch.randperm(290, generator=torch.Generator().manual_seed(epoch))
        steps.begin(order.to(device))
        for step, rate in enumerate(RATES):
            optimizer.lr = rate
            steps.fetch(step)
            steps.take(step)
        figures += [*steps.losses.tolist(), *steps.corrects.tolist()]
    return figures, model.state_dict() | dict(enumerate(optimizer.velocities))


def test_captured_steps_are_plain_ones_with_a_last_odd_batch_and_a_changing_rate(
    train: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CapturedSteps, "_record", _record)
    figures, state = _two_epochs(CapturedSteps, train)
    plain_figures, plain_state = _two_epochs(PlainSteps, train)
    assert figures == pytest.approx(plain_figures, rel=1e-4)
    torch.testing.assert_close(state, plain_state, rtol=1e-3, atol=1e-5)


def test_each_size_of_batch_is_captured_once(train: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    captured = []

    def record(steps: CapturedSteps, size: int) -> _Graph:
        captured.append(size)
        return _record(steps, size)

    monkeypatch.setattr(CapturedSteps, "_record", record)
    _two_epochs(CapturedSteps, train)
    assert captured == [64, 34]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_real_graph_takes_the_same_steps(train: Split) -> None:
    figures, _ = _two_epochs(CapturedSteps, train.to(torch.device("cuda")))
    plain, _ = _two_epochs(PlainSteps, train)
    assert figures == pytest.approx(plain, rel=1e-2)
