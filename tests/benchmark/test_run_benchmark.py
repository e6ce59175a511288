"""A benchmark: blocks alternate, ratios are taken within a round, an arm is its own noise."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnrun.benchmark import arm_processes, run_benchmark
from bnrun.benchmark.arm_processes import PhasedTraining, build_arm, peak_memory, prepare_matmul
from bnrun.benchmark.arm_syntax import BenchArm, bench_arms
from bnrun.benchmark.result import PHASES, Benchmark
from bnrun.benchmark.run_benchmark import bench
from bnrun.comparison import interleaved_timer
from bnrun.comparison.timed_training import prepare_timed
from bnrun.config import parse_override
from bnrun.data.dataset import Dataset
from bnrun.errors import BnrunError, NormError, TrainingFailed
from bnrun.events import Stage, drain
from bnrun.networks.lenet import flops, forward_flops
from bnrun.training.timing import Reading
from bnrun.workers import WorkerLost

RATES = {"loop-4": 1_000.0, "loop-0": 2_000.0, "scratch": 20_000.0, "builtin": 10_000.0}


def _arms(text: str) -> tuple[BenchArm, ...]:
    overrides = ["data.name=synthetic", "training.device=cpu", "training.batch_size=32"]
    return bench_arms([text], None, [a for one in overrides for a in parse_override(one)])


class FakeProcess:
    """Stands in for a process: it is twice as fast in every second round."""

    log: list[tuple[str, str]]

    def __init__(self, title: str, prepare: object, arguments: Any, *_: Any, **__: Any) -> None:
        self.name, self.turns = "matmul", 0
        if prepare is prepare_timed:
            _, build, (arm,) = arguments
            assert build is build_arm
            self.name = arm.name

    def begin(self) -> None:
        self.log.append((self.name, "begun"))

    def wait_until_ready(self) -> None:
        self.log.append((self.name, "built"))

    def end(self) -> None:
        self.log.append((self.name, "ended"))

    def run(self, job: Any) -> Any:
        if self.name == "matmul":
            return 1e11
        what, arguments = job
        self.log.append((self.name, what))
        if what == "train":
            (steps,) = arguments
            self.turns += 1
            seconds = 32 * steps / RATES[self.name] / (1 + self.turns % 2)
            return Reading(32 * steps, seconds, seconds / 2)
        if what == "get_ready":
            self.log.append((self.name, f"engine {[*arguments, 'chosen'][0]}"))
        return {
            "get_ready": "compiled",
            "engine_reason": "",
            "is_in_one_call": self.name == "scratch",
            "evaluate": 300 / RATES[self.name],
            "phases": dict.fromkeys(PHASES, 0.001),
            "peak_memory": 5_000_000,
        }[what]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let stand-ins be the processes; return who was asked what."""
    FakeProcess.log = []
    monkeypatch.setattr(interleaved_timer, "Worker", FakeProcess)
    monkeypatch.setattr(run_benchmark, "Worker", FakeProcess)
    return FakeProcess.log


def _benchmark(arms: tuple[BenchArm, ...], data: Dataset, rounds: int = 4) -> Benchmark:
    stages: list[Stage] = []
    found = drain(bench(arms, data, 5, rounds), stages.append)
    assert all(stage.done <= stage.total for stage in stages)
    return found


def test_ratios_are_medians_within_rounds_to_the_faster_of_the_loops(
    small: Dataset, asked: list[tuple[str, str]]
) -> None:
    found = _benchmark(_arms("loop:4 loop:0 scratch builtin"), small)
    assert found.baseline == "loop-0"
    assert [(arm.name, arm.ratio) for arm in found.arms] == [
        ("loop-4", 0.5), ("loop-0", 1.0), ("scratch", 10.0), ("builtin", 5.0),
    ]  # fmt: skip
    scratch = found.arms[2]
    assert scratch.spread == (10.0, 10.0)
    assert scratch.examples_per_second == pytest.approx(30_000)
    assert scratch.compute_examples_per_second == pytest.approx(60_000)
    # 300 images at 40,000/s, those of the first and third round, and an evaluation of 15 ms
    assert scratch.epoch_examples_per_second == pytest.approx(300 / (0.0075 + 0.015))
    assert scratch.epoch_ratio == pytest.approx(10)
    assert scratch.share_of_peak == pytest.approx(30_000 * flops() / 1e11)
    assert scratch.phase_shares is not None
    assert scratch.phase_shares["forward"] == pytest.approx(32 * forward_flops() / 0.001 / 1e11)
    assert sum(scratch.phase_shares.values()) == pytest.approx(32 * flops() / 0.001 / 1e11)
    assert (scratch.phases, scratch.peak_memory) == (dict.fromkeys(PHASES, 0.001), 5_000_000)
    assert (found.noise.name, found.noise.ratio) == ("scratch", 1.0)
    assert found.to_dict()["noise"] == {"name": "scratch", "ratio": 1.0, "spread": (1.0, 1.0)}
    assert found.to_dict()["peak_gflops"] == pytest.approx(100.0)


def test_every_second_round_runs_backwards_and_every_process_is_ended(
    small: Dataset, asked: list[tuple[str, str]]
) -> None:
    _benchmark(_arms("loop:0 scratch"), small)
    forth = ["loop-0", "scratch", "scratch"]
    assert [arm for arm, what in asked if what == "train"] == (forth + forth[::-1]) * 2
    evaluated = [arm for arm, what in asked if what == "evaluate"]
    assert evaluated == forth * 2
    ended = sorted(arm for arm, what in asked if what == "ended")
    assert ended == ["loop-0", "matmul", "scratch", "scratch"]


def test_processes_start_side_by_side_and_none_steps_before_all_are_built(
    small: Dataset, asked: list[tuple[str, str]]
) -> None:
    _benchmark(_arms("loop:0 scratch"), small)
    arms = ["loop-0", "scratch", "scratch"]
    assert asked[:3] == [(arm, "begun") for arm in arms]
    steps = [at for at, (_, what) in enumerate(asked) if what == "get_ready"]
    built = [at for at, (arm, what) in enumerate(asked) if what == "built" and arm in arms]
    assert (len(steps), len(built)) == (3, 3)


def test_without_a_loop_the_first_arm_is_the_baseline(
    small: Dataset, asked: list[tuple[str, str]]
) -> None:
    found = _benchmark(_arms("builtin scratch"), small, rounds=1)
    assert (found.baseline, found.noise.name) == ("builtin", "builtin")
    assert found.arms[1].ratio == 2.0
    found = _benchmark(_arms("loop:0"), small, rounds=1)
    assert (found.baseline, found.noise.name) == ("loop-0", "loop-0")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (NormError("no such class"), NormError, "no such class"),
        (
            WorkerLost("hung", "does not come back"),
            TrainingFailed,
            "arm scratch does not come back.",
        ),
    ],
)
def test_an_arm_that_fails_says_so_and_the_others_are_ended(
    small: Dataset,
    asked: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    answer: Exception,
    error: type[BnrunError],
    message: str,
) -> None:
    real: Callable[..., Any] = interleaved_timer.Worker.run

    def run(process: Any, job: Any) -> Any:
        if process.name == "scratch":
            raise answer
        return real(process, job)

    monkeypatch.setattr(interleaved_timer.Worker, "run", run)
    with pytest.raises(error, match=message):
        drain(bench(_arms("loop:0 scratch"), small, 1, 1))
    assert ("loop-0", "ended") in asked


def test_an_arm_against_itself_has_the_engine_that_was_chosen_for_it(
    small: Dataset, asked: list[tuple[str, str]]
) -> None:
    """Were `auto` asked again, the noise might be that of two engines."""
    found = _benchmark(_arms("scratch"), small)
    assert [what for _, what in asked if what.startswith("engine ")] == [
        "engine chosen",
        "engine compiled",
    ]
    assert found.arms[0].engine == "compiled"


def test_an_arm_really_trains_evaluates_and_shows_where_its_time_goes() -> None:
    (arm,) = _arms("a=scratch,training.engine=eager")
    run = prepare_timed("arm a", build_arm, (arm,))
    assert run(("get_ready", ())) == "eager"
    reading = run(("train", (3,)))
    assert reading.examples == 3 * 32
    assert 0 < reading.compute_seconds < reading.seconds
    assert run(("evaluate", ())) > 0
    assert set(run(("phases", (2,)))) == set(PHASES)
    assert run(("peak_memory", ())) > 1e7
    assert prepare_matmul("cpu")(None) > 1e8


def test_a_step_in_one_call_times_its_phases_itself(compilable: None) -> None:
    """Also where the last batch is one image, for which a step calls the layers."""
    (arm,) = _arms("a=none,training.engine=compiled,data.images=65")
    run = prepare_timed("arm a", build_arm, (arm,))
    run(("get_ready", ()))
    assert run(("is_in_one_call", ()))
    phases = run(("phases", (3,)))
    assert set(phases) == set(PHASES)
    assert min(phases.values()) > 0


def test_an_arm_is_a_training_or_the_textbooks_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, training = _arms("loop:0 a=scratch,training.engine=eager")
    assert isinstance(build_arm(training), PhasedTraining)
    monkeypatch.setattr(arm_processes, "TimedLoop", lambda arm: arm)
    assert build_arm(loop) is loop


def test_where_python_has_no_resource_module_the_memory_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Windows, where bench ended with an ImportError."""
    assert (peak_memory(torch.device("cpu")) or 0) > 1e7
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(torch.device("cpu")) is None
