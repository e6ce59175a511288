"""Kernels are timed in turns with PyTorch's operations, and ratios are taken within a round."""

from collections.abc import Sequence
from typing import Any

import pytest

from bnrun.benchmark import kernel_timings
from bnrun.benchmark.kernel_cases import CASES, COPIED_VALUES, FLOAT_BYTES
from bnrun.benchmark.kernel_result import KernelBenchmark, PassSpeed
from bnrun.benchmark.kernel_timings import bench_kernels, prepare_cases, prepare_peaks
from bnrun.benchmark.step_stages import STAGE_FLOPS
from bnrun.errors import TrainingFailed
from bnrun.events import Stage, drain
from bnrun.kernels.build import Build
from bnrun.workers import WorkerLost

BUILD = Build(("AVX2", "FMA"), "GCC 12.2.0")
CHOSEN = tuple(case for case in CASES if case.name in ("conv1", "image batch"))
CONV1, BATCH = CHOSEN


class FakeWorker:
    """Stands in for a process: the kernels take 1 and 2 ms, and twice as long in odd rounds."""

    log: list[str]
    torch_seconds = (0.004, 0.001)

    def __init__(self, title: str, prepare: Any, arguments: Sequence[Any], *_: Any) -> None:
        self.title, self.turns = title, 0

    def begin(self) -> None:
        self.log.append(f"begun: {self.title}")

    def wait_until_ready(self) -> None:
        self.log.append(f"ready: {self.title}")

    def end(self) -> None:
        self.log.append(f"ended: {self.title}")

    def run(self, job: int | None) -> object:
        self.log.append(self.title)
        if self.title == "timing a step":
            return dict.fromkeys(STAGE_FLOPS, 0.001)
        if job is None:
            self.turns += len(CHOSEN)
            fast = 1 + self.turns // len(CHOSEN) % 2  # so the share is the same in every round
            return fast * 5e10, fast * 2.5e10
        slow = 1 + self.turns // len(CHOSEN) % 2
        self.turns += 1
        seconds = self.torch_seconds if self.title == "timing torch" else (0.001, 0.002)
        return slow * seconds[0], None if CHOSEN[job].backward is None else slow * seconds[1]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    FakeWorker.log = []
    monkeypatch.setattr(kernel_timings, "Worker", FakeWorker)
    monkeypatch.setattr(kernel_timings.kernels, "is_compiled", lambda: True)
    monkeypatch.setattr(kernel_timings.kernels, "describe_build", lambda: BUILD)
    return FakeWorker.log


def _bench(rounds: int = 4) -> KernelBenchmark:
    stages: list[Stage] = []
    found = drain(bench_kernels(256, rounds, CHOSEN), stages.append)
    assert all(stage.done <= stage.total for stage in stages)
    return found


def test_ratios_are_within_rounds_and_shares_are_of_the_peak_for_the_kind_of_work(
    log: list[str],
) -> None:
    found = _bench()
    conv1, batch = found.kernels
    assert (conv1.forward.ratio, conv1.forward.spread) == (4.0, (4.0, 4.0))
    assert conv1.backward is not None
    assert conv1.backward.ratio == 0.5
    assert conv1.forward.seconds == pytest.approx(0.0015)  # of 1, 2, 1 and 2 ms
    assert conv1.forward.rate == pytest.approx(256 * CONV1.forward / 0.0015)
    assert conv1.forward.share_of_peak == pytest.approx(256 * CONV1.forward / 0.001 / 1e11)
    assert batch.forward.share_of_peak == pytest.approx(256 * BATCH.forward / 0.001 / 5e10)
    assert batch.backward is None
    assert (found.noise, found.noise_spread, conv1.forward.noise) == (1.0, (1.0, 1.0), 1.0)
    assert found.slower() == ("conv1 backward",)
    stage = found.stages[0]
    assert (stage.name, stage.seconds, stage.share) == ("conv1", 0.001, pytest.approx(1 / 11))
    assert stage.share_of_peak == pytest.approx(256 * CONV1.forward / 0.001 / 7.5e10)
    document = found.to_dict()
    assert document["slower"] == ["conv1 backward"]
    assert (document["peak_gflops"], document["peak_gbytes_per_second"]) == (75.0, 37.5)
    assert document["build"] == {"features": ("AVX2", "FMA"), "compiler": "GCC 12.2.0"}


@pytest.mark.parametrize(
    ("high", "noise", "is_slower"), [(0.9, 0.95, True), (0.97, 0.95, False), (1.01, 1.02, False)]
)
def test_a_kernel_is_slower_where_its_lag_is_more_than_noise(
    high: float, noise: float, is_slower: bool
) -> None:
    one = PassSpeed(0.001, 0.0009, 1e9, 0.1, 0.85, (0.8, high), 1.0, (noise, 1.05))
    assert one.is_slower == is_slower


def test_processes_start_side_by_side_take_turns_and_are_ended(log: list[str]) -> None:
    _bench(rounds=2)
    turn = ["timing kernel", "timing torch", "timing kernel"]
    workers = [*turn, "the matrix product", "timing a step"]
    assert log[:10] == [f"{what}: {one}" for what in ("begun", "ready") for one in workers]
    first = ["the matrix product", "timing a step"]
    assert log[10:-5] == [*first, *turn * 2, *first, *turn[::-1] * 2]
    assert sorted(log[-5:]) == sorted(f"ended: {one}" for one in workers)


def test_a_process_that_is_lost_is_told_and_the_others_are_ended(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise WorkerLost("exited", "was ended")

    monkeypatch.setattr(FakeWorker, "run", lose)
    with pytest.raises(TrainingFailed, match=r"^timing kernels: a process was ended\.$"):
        _bench()
    assert sum(line.startswith("ended") for line in log) == 5


def test_a_block_times_both_passes_of_what_has_two(
    compilable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_timings, "keep_freed_memory", lambda: None)
    for side in ("kernel", "torch"):
        run = prepare_cases(side, ["max pool 2", "norm1 in eval"], 2)
        forward, backward = run(0)
        assert forward > 0
        assert backward is not None
        assert backward > 0
        assert run(1)[1] is None


def test_the_machine_is_measured_by_a_product_and_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_timings, "prepare_matmul", lambda device: lambda job: 1e11)
    operations, copied = prepare_peaks(1)(None)
    assert (operations, copied > FLOAT_BYTES * COPIED_VALUES) == (1e11, True)
