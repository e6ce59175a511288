"""Throughput: blocks alternate, warm-up is left out, ratios are taken within a round."""

from collections.abc import Callable

import pytest
import torch

from bnrun.comparison import throughput
from bnrun.comparison.outcome import Arm, Speeds
from bnrun.data import dataset
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import Stage
from bnrun.training.stepper import Stepper

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")


def _measure(arms: tuple[Arm, ...], data: Dataset) -> tuple[list[Stage], Speeds]:
    *stages, speeds = throughput.measure_throughput(arms, data, CPU)
    assert isinstance(speeds, Speeds)
    return [stage for stage in stages if isinstance(stage, Stage)], speeds


def test_ratios_are_medians_within_rounds_and_the_first_arm_is_its_own_noise(
    small: Dataset, arms_of: Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is twice as fast in every second round changes no ratio."""
    order: list[str] = []
    speed = {"a": 1_000.0, "b": 3_000.0}

    def block(stepper: Stepper, device: torch.device) -> float:
        order.append(stepper.name.removeprefix("arm "))
        turn = (len(order) - 7) // 3  # after two warm-up blocks of each
        return speed[order[-1]] * (2 if turn % 2 else 1)

    monkeypatch.setattr(throughput, "_block", block)
    stages, speeds = _measure(arms_of("a=scratch", "b=none"), small)
    assert order[:12] == ["a", "b", "a"] * 3 + ["a", "b", "a"]
    assert len(order) == 3 * (throughput.ROUNDS + throughput.WARM_UP_BLOCKS)
    a, b = speeds.arms
    assert (a.arm, a.norm, a.ratio_to_first, a.spread) == ("a", "scratch", 1.0, (1.0, 1.0))
    assert (b.arm, b.norm, b.ratio_to_first, b.spread) == ("b", "none", 3.0, (3.0, 3.0))
    assert (speeds.noise.arm, speeds.noise.ratio_to_first) == ("a", 1.0)
    assert [stage.done for stage in stages] == list(range(throughput.ROUNDS))


def test_every_second_round_runs_backwards(
    small: Dataset, arms_of: Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[int] = []

    def block(stepper: Stepper, device: torch.device) -> float:
        order.append(id(stepper))
        return 1.0

    monkeypatch.setattr(throughput, "_block", block)
    _measure(arms_of("a=scratch", "b=none"), small)
    forth, back = order[6:9], order[9:12]
    assert back == forth[::-1]


def test_real_blocks_are_timed(
    small: Dataset, arms_of: Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "ROUNDS", 4)
    _, speeds = _measure(arms_of("scratch", "none"), small)
    assert (speeds.rounds, speeds.steps) == (4, throughput.STEPS)
    for arm in (*speeds.arms, speeds.noise):
        assert arm.examples_per_second > 0
        assert 0 < arm.spread[0] <= arm.ratio_to_first <= arm.spread[1]


def test_an_arm_that_raises_says_so(
    small: Dataset, arms_of: Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def three_colours(*_: object) -> torch.Tensor:
        return torch.zeros(2, 3, 28, 28)

    monkeypatch.setattr(dataset, "scaled", three_colours)
    with pytest.raises(
        TrainingFailed, match="arm scratch, epoch 1, step 1 of 10, a batch of 32: RuntimeError"
    ):
        _measure(arms_of("scratch", "none"), small)


def test_a_stepper_trains_as_a_trial_does(small: Dataset, arms_of: Arms) -> None:
    """The same weights after an epoch: same seed, same batches, same learning rates."""
    from bnrun.events import CheckpointReady
    from bnrun.training import train

    text = "a=scratch,training.batch_size=256,optimizer={momentum: 0.9, schedule: one-cycle}"
    arm = arms_of(text, "none")[0]
    stepper = Stepper(arm.config, small.train)
    counts = [stepper.step()[1] for _ in range(4)]
    assert counts == [256, 44, 256, 44]
    *_, last = (e for e in train(arm.config, small, CPU) if isinstance(e, CheckpointReady))
    for name, tensor in stepper.model.state_dict().items():
        assert torch.equal(tensor, last.state["model"][name]), name


def test_a_stepper_in_float64_tells_its_loss_in_float64(small: Dataset, arms_of: Arms) -> None:
    """Else two arms' losses would agree where they do not."""
    arm, _ = arms_of("scratch", "none")
    loss, count = Stepper(arm.config, small.train, dtype=torch.float64).step()
    assert (loss.dtype, count) == (torch.float64, 32)
    assert float(loss) != float(loss.float())
