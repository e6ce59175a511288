"""Throughput: a process for each arm, blocks in turns, ratios within a round."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from bnrun.comparison import interleaved_timer, throughput
from bnrun.comparison.arms import Arm
from bnrun.comparison.interleaved_timer import TimedArm
from bnrun.comparison.result import Speeds
from bnrun.comparison.speed_ratio import ratio_within_rounds
from bnrun.comparison.timed_training import TimedTraining, prepare_timed
from bnrun.data.dataset import Dataset
from bnrun.errors import BnrunError, EngineError, NormError, TrainingFailed
from bnrun.events import Activity, CheckpointReady, Stage, drain
from bnrun.training import train
from bnrun.training.stepper import Stepper
from bnrun.training.timing import Reading
from bnrun.workers import WorkerLost

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")
SPEED = {"a": 1_000.0, "b": 3_000.0}


class FakeWorker:
    """Stands in for a process: it is twice as fast in every second round."""

    log: list[tuple[str, int, str]]

    def __init__(
        self, title: str, prepare: object, arguments: Sequence[Any], *_: Any, **__: Any
    ) -> None:
        assert prepare is prepare_timed
        _, build, (self.name, self.config) = arguments
        assert build is TimedTraining
        self.blocks = 0

    def begin(self) -> None:
        self._note("begun")

    def wait_until_ready(self) -> None:
        self._note("built")

    def end(self) -> None:
        self._note("ended")

    def run(self, job: tuple[str, Sequence[Any]]) -> Any:
        method, arguments = job
        if method == "is_in_one_call":
            return self.name == "a"
        self._note(method)
        if method == "get_ready":
            return "compiled" if self.config.training.engine == "auto" else "eager"
        (steps,) = arguments
        self.blocks += 1
        seconds = 32 * steps / SPEED[self.name] / (1 + self.blocks % 2)
        return Reading(32 * steps, seconds, seconds)

    def _note(self, what: str) -> None:
        self.log.append((self.name, id(self), what))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str]]:
    """Who was asked for what: the arm's name, the process, and the job."""
    FakeWorker.log = []
    monkeypatch.setattr(interleaved_timer, "Worker", FakeWorker)
    return FakeWorker.log


def _measure(arms: tuple[Arm, ...]) -> tuple[list[Stage], Speeds]:
    stages: list[Stage] = []

    def note(event: Stage | Activity) -> None:
        if isinstance(event, Stage):
            stages.append(event)

    return stages, drain(throughput.measure_throughput(arms, CPU), note)


def test_ratios_are_medians_within_rounds_and_the_first_arm_is_its_own_noise(
    arms_of: Arms, log: list[tuple[str, int, str]]
) -> None:
    """A machine that is twice as fast in every second round changes no ratio."""
    stages, speeds = _measure(arms_of("a=scratch", "b=none"))
    a, b = speeds.arms
    assert (a.arm, a.norm, a.ratio_to_first, a.spread) == ("a", "scratch", 1.0, (1.0, 1.0))
    assert (b.arm, b.norm, b.ratio_to_first) == ("b", "none", pytest.approx(3.0))
    assert (speeds.noise.arm, speeds.noise.ratio_to_first) == ("a", 1.0)
    assert (speeds.rounds, speeds.steps) == (throughput.ROUNDS, throughput.STEPS)
    assert {stage.name for stage in stages} == {"throughput"}
    assert stages[-1].done < stages[-1].total == throughput.ROUNDS


def test_each_arm_has_a_process_and_every_second_round_runs_backwards(
    arms_of: Arms, log: list[tuple[str, int, str]]
) -> None:
    _measure(arms_of("a=scratch", "b=none"))
    blocks = [process for _, process, what in log if what == "train"]
    assert len(set(blocks)) == 3
    assert len(blocks) == 3 * throughput.ROUNDS
    forth, back = blocks[:3], blocks[3:6]
    assert back == forth[::-1]
    assert sum(what == "ended" for *_, what in log) == 3


def test_every_arm_is_timed_on_its_own_engine(
    arms_of: Arms, log: list[tuple[str, int, str]]
) -> None:
    _, speeds = _measure(arms_of("a=scratch", "b=scratch,training.engine=eager"))
    assert [arm.engine for arm in speeds.arms] == ["compiled", "eager"]
    assert [arm.in_one_call for arm in speeds.arms] == [True, False]


@pytest.mark.process
def test_real_blocks_are_timed_in_processes_of_their_own(
    arms_of: Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "ROUNDS", 2)
    arms = arms_of("a=none,training.engine=eager", "b=scratch")
    _, speeds = _measure(arms[:1])  # it has a second process, too
    for arm in (*speeds.arms, speeds.noise):
        assert arm.examples_per_second > 0
        assert 0 < arm.spread[0] <= arm.ratio_to_first <= arm.spread[1]
        assert arm.engine == "eager"


class _Pid:
    def get_ready(self, engine: str | None = None) -> str:
        return str(os.getpid())

    def train(self, steps: int) -> Reading:
        return Reading(steps, 1.0, 1.0)


@pytest.mark.parametrize("error", [EngineError("no compiler", "training.engine"), ValueError("no")])
def test_an_arm_that_cannot_be_timed_says_so(error: Exception) -> None:
    """Errors that are not bnrun's, of memory for example, become one that names the arm."""

    def build() -> _Pid:
        raise error

    with pytest.raises(BnrunError) as raised:
        prepare_timed("arm a", build, ())
    expected = error if isinstance(error, BnrunError) else TrainingFailed("arm a: ValueError: no")
    assert (type(raised.value), str(raised.value)) == (type(expected), str(expected))


def test_a_process_that_is_lost_fails_the_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = TimedArm("a", _Pid, ())
    monkeypatch.setattr(arm, "_worker", _Lost())
    with pytest.raises(TrainingFailed, match=r"arm a does not come back\."):
        arm.time_block(3)


class _Lost:
    def run(self, job: object) -> object:
        raise WorkerLost("hung", "does not come back")


def test_a_training_is_timed_as_a_trial_is_trained(arms_of: Arms) -> None:
    arm, _ = arms_of("a=scratch,training.engine=eager", "none")
    timed = TimedTraining(arm.name, arm.config)
    assert timed.get_ready() == "eager"
    reading = timed.train(8)
    assert 0 < reading.compute_seconds < reading.seconds


def test_steps_beside_a_trial_train_as_the_trial_does(small: Dataset, arms_of: Arms) -> None:
    """The same weights after an epoch: same seed, same batches, same learning rates."""
    text = "a=scratch,training.batch_size=256,optimizer={momentum: 0.9, schedule: one-cycle}"
    arm = arms_of(text, "none")[0]
    stepper = Stepper(arm.config, small.train)
    counts = [stepper.step()[1] for _ in range(4)]
    assert counts == [256, 44, 256, 44]
    *_, last = (e for e in train(arm.config, small, CPU) if isinstance(e, CheckpointReady))
    for name, tensor in stepper.model.state_dict().items():
        assert torch.equal(tensor, last.state["model"][name]), name


def test_a_norm_that_cannot_be_built_is_named(arms_of: Arms, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text("class Norm: pass\n")
    arm, _ = arms_of(f"a={tmp_path}/mine.py:Norm", "none")
    run = prepare_timed("arm a", TimedTraining, (arm.name, arm.config))
    with pytest.raises(NormError, match="does not derive from torch.nn.Module"):
        run(("get_ready", ()))


@pytest.mark.parametrize(
    ("rates", "spread"),
    [([1.0, 3.0, 2.0], (1.0, 3.0)), ([1.0, 2.0, 3.0, 4.0], (1.25, 3.75))],
)
def test_fewer_than_four_rounds_have_a_range_and_no_middle_half(
    rates: list[float], spread: tuple[float, float]
) -> None:
    assert ratio_within_rounds(rates, [1.0] * len(rates)).spread == spread
