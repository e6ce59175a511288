"""A benchmark: blocks alternate, ratios are taken within a round, an arm is its own noise."""

from collections.abc import Callable
from typing import Any, Self

import pytest

from bnrun.benchmark import speed_measurement as benches
from bnrun.benchmark.bench_arms import BenchArm, bench_arms
from bnrun.benchmark.speed_measurement import bench
from bnrun.benchmark.speeds import PHASES, Benchmark
from bnrun.benchmark.timed_arms import prepare_arm, prepare_matmul
from bnrun.config import parse_override
from bnrun.data.dataset import Dataset
from bnrun.errors import BnrunError, NormError, TrainingFailed
from bnrun.events import Stage
from bnrun.networks.lenet import LeNet, flops
from bnrun.norms import norm_factory
from bnrun.training.timing import Reading
from bnrun.workers import WorkerLost

RATES = {"loop-4": 1_000.0, "loop-0": 2_000.0, "scratch": 20_000.0, "builtin": 10_000.0}


def _arms(text: str) -> tuple[BenchArm, ...]:
    stated = ["data.name=synthetic", "training.device=cpu", "training.batch_size=32"]
    return bench_arms([text], None, [a for one in stated for a in parse_override(one)])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Stand in for the processes, every second round twice as fast; return who was asked what."""
    log: list[tuple[str, str]] = []

    class Process:
        def __init__(self, what: str, prepare: object, arguments: Any, *_: Any, **__: Any) -> None:
            self.arm = arguments[0].name if prepare is prepare_arm else "matmul"
            self.turns = 0

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            log.append((self.arm, "ended"))

        def run(self, job: Any) -> Any:
            if self.arm == "matmul":
                return 1e11
            what, arguments = job
            log.append((self.arm, what))
            if what == "train":
                (steps,) = arguments
                self.turns += 1
                seconds = 32 * steps / RATES[self.arm] / (1 + self.turns % 2)
                return Reading(32 * steps, seconds, seconds / 2)
            return {
                "begin": "compiled",
                "evaluate": 300 / RATES[self.arm],
                "phases": dict.fromkeys(PHASES, 0.001),
                "peak_memory": 5_000_000,
            }[what]

    monkeypatch.setattr(benches, "Worker", Process)
    return log


def _benchmark(arms: tuple[BenchArm, ...], data: Dataset, rounds: int = 4) -> Benchmark:
    *stages, found = bench(arms, data, 5, rounds)
    assert isinstance(found, Benchmark)
    assert all(isinstance(stage, Stage) and stage.done <= stage.total for stage in stages)
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
    assert (scratch.phases, scratch.peak_memory) == (dict.fromkeys(PHASES, 0.001), 5_000_000)
    assert (found.noise.name, found.noise.ratio) == ("scratch", 1.0)
    assert found.to_dict()["noise"] == {"name": "scratch", "ratio": 1.0, "spread": (1.0, 1.0)}


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
    real: Callable[..., Any] = benches.Worker.run

    def run(process: Any, job: Any) -> Any:
        if process.arm == "scratch":
            raise answer
        return real(process, job)

    monkeypatch.setattr(benches.Worker, "run", run)
    with pytest.raises(error, match=message):
        list(bench(_arms("loop:0 scratch"), small, 1, 1))
    assert ("loop-0", "ended") in asked


def test_the_work_of_a_step_is_counted_as_torch_counts_it() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = LeNet(norm_factory("none"))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(3, 1, 28, 28)).sum().backward()
    assert counter.get_total_flops() == 3 * flops()


def test_an_arm_really_trains_evaluates_and_tells_where_its_time_goes() -> None:
    (arm,) = _arms("a=scratch,training.engine=eager")
    do = prepare_arm(arm)
    assert do(("begin", ())) == "eager"
    reading = do(("train", (3,)))
    assert reading.examples == 3 * 32
    assert 0 < reading.compute_seconds < reading.seconds
    assert do(("evaluate", ())) > 0
    assert set(do(("phases", (2,)))) == set(PHASES)
    assert do(("peak_memory", ())) > 1e7
    assert prepare_matmul("cpu")(None) > 1e8


def test_an_arm_whose_norm_cannot_be_built_raises_the_error(tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text("class Norm: pass\n")
    (arm,) = _arms(f"a={tmp_path}/mine.py:Norm")
    with pytest.raises(NormError, match="must be a class derived from"):
        prepare_arm(arm)(("begin", ()))
