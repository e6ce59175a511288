"""Throughput counts the right examples and seconds, by a fake clock: nothing here is timed."""

import itertools

import pytest
import torch

from bnrun.training import timing
from bnrun.training.timing import WARM_UP_STEPS, Clock, Reading


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one second pass between any two readings of the clock."""
    seconds = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(seconds)))


def _epoch(watch: Clock, steps: int, examples: int) -> Reading:
    watch.start_epoch()
    for _ in range(steps):
        watch.batch_ready()
        watch.step_done(examples)
    return watch.end_epoch()


@pytest.mark.usefixtures("ticking")
def test_warm_up_steps_count_in_neither_throughput() -> None:
    watch = Clock(torch.device("cpu"))
    first = _epoch(watch, WARM_UP_STEPS + 3, examples=10)
    second = _epoch(watch, 4, examples=10)
    assert (first.examples, second.examples) == (30, 40)
    assert first.compute_seconds == 3  # one second from "ready" to "done", three times
    assert second.compute_seconds == 4
    assert second.seconds == 9  # from the start of the epoch, past eight marks, to its end


def test_an_epoch_of_warm_up_alone_has_no_throughput() -> None:
    reading = _epoch(Clock(torch.device("cpu")), WARM_UP_STEPS, examples=10)
    assert reading == Reading()
    assert reading.examples_per_second is None
    assert reading.compute_examples_per_second is None


@pytest.mark.usefixtures("ticking")
def test_the_time_of_a_pause_does_not_count() -> None:
    watch = Clock(torch.device("cpu"))
    _epoch(watch, WARM_UP_STEPS, examples=10)
    watch.start_epoch()
    watch.batch_ready()
    watch.step_done(10)
    with watch.paused():
        timing.time.perf_counter()  # between the two readings of the pause
    assert watch.end_epoch().seconds == 4  # six readings later, less the two of the pause


def test_readings_add_up_over_a_run() -> None:
    total = Reading(100, 2.0, 1.0) + Reading(300, 2.0, 1.0)
    assert (total.examples_per_second, total.compute_examples_per_second) == (100.0, 200.0)
