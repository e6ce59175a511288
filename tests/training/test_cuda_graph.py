"""Recorded steps are the same steps as eager ones; what can be shown of it without a GPU."""

from typing import Any

import pytest
import torch

from bnrun.config import parse_override, resolve
from bnrun.data.dataset import Split
from bnrun.data.synthetic import synthetic
from bnrun.training import stepper as stepper_module
from bnrun.training.cuda_graph import StepGraphs
from bnrun.training.engine import COMPILED, EAGER, Engine
from bnrun.training.stepper import Stepper

SETTINGS = (
    "optimizer={lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01, schedule: one-cycle}",
    "training.epochs=2",
    "training.batch_size=64",
)


@pytest.fixture(scope="module")
def train() -> Split:
    """290 images: four batches of 64, and one of 34."""
    return synthetic().train.take(torch.arange(290))


class _Graph:
    """Stands for a recorded graph: a replay takes the step that was recorded."""

    def __init__(self, graphs: StepGraphs, size: int) -> None:
        self.graphs, self.size = graphs, size

    def replay(self) -> None:
        optimizer = self.graphs._optimizer
        lr, optimizer.lr = optimizer.lr, self.graphs._lr
        self.graphs._run(self.size)
        optimizer.lr = lr


def _record(graphs: StepGraphs, size: int) -> _Graph:
    """Change what warming up and recording change."""
    graphs._lr.fill_(0.5)
    for _ in range(3):
        graphs._run(size)
        graphs._step.zero_()
    return _Graph(graphs, size)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the engine compiled take graphs on the CPU; return the batch sizes that are recorded."""
    recorded: list[int] = []

    def record(graphs: StepGraphs, size: int) -> _Graph:
        recorded.append(size)
        return _record(graphs, size)

    monkeypatch.setattr(StepGraphs, "_record", record)
    monkeypatch.setattr(
        stepper_module, "uses_graphs", lambda engine, device: engine.name == "compiled"
    )
    monkeypatch.setattr("bnrun.training.engine.uses_kernels", lambda engine, device: False)
    return recorded


def _two_epochs(engine: Engine, train: Split) -> tuple[list[float], dict[str, Any]]:
    config = resolve(None, [a for text in SETTINGS for a in parse_override(text)]).config
    stepper = Stepper(config, train, engine=engine)
    figures: list[float] = []
    with stepper.computing():
        for _ in range(2):
            for _ in range(stepper.steps_per_epoch):
                stepper.step()
            figures += [*stepper.losses.tolist(), *stepper.correct_counts.tolist()]
    return figures, stepper.model.state_dict() | dict(enumerate(stepper.optimizer.velocities))


def test_recorded_steps_are_eager_ones_with_a_smaller_last_batch_and_a_changing_rate(
    train: Split, without_gpu: list[int]
) -> None:
    figures, state = _two_epochs(COMPILED, train)
    assert without_gpu == [64, 34]  # each size of batch is recorded once
    eager_figures, eager_state = _two_epochs(EAGER, train)
    assert figures == pytest.approx(eager_figures, rel=1e-4)
    torch.testing.assert_close(state, eager_state, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_real_graph_takes_the_same_steps(train: Split) -> None:
    figures, _ = _two_epochs(COMPILED, train.to(torch.device("cuda")))
    eager_figures, _ = _two_epochs(EAGER, train)
    assert figures == pytest.approx(eager_figures, rel=1e-2)
