"""A comparison at work: its order, what it counts, what it continues from."""

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch

from bnrun.comparison import parity, run_comparison
from bnrun.comparison.arms import Arm
from bnrun.comparison.comparison_events import (
    CompareEvent,
    CompareStarted,
    ResultSoFar,
    ThroughputFailed,
    Trial,
    TrialEnded,
    TrialEvent,
)
from bnrun.comparison.plan import make_plan
from bnrun.comparison.result import Comparison, Parity, Speeds, Throughput
from bnrun.comparison.run_comparison import compare, load_shared
from bnrun.comparison.trials import TrialFailed, run_trials, unfinished_trials
from bnrun.data.dataset import Dataset
from bnrun.errors import ConfigError, DataError, NormError, TrainingFailed
from bnrun.events import Event, Stage, drain
from bnrun.training import train
from bnrun.training.device import device_name
from bnrun.training_summary import Summary

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small(small: Dataset) -> Dataset:
    """Images for three steps an epoch: what is learned is no subject here."""
    train, test = (part.take(torch.arange(n)) for part, n in ((small.train, 96), (small.test, 32)))
    return replace(small, train=train, test=test)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps of parity, and no processes for throughput, which have tests of their own."""

    def measure_throughput(
        arms: Sequence[Arm], device: torch.device
    ) -> Generator[Stage, None, Speeds]:
        yield Stage("throughput", 0, 1)
        found = [Throughput(arm.name, arm.config.model.norm, 1e4, 1.0, (0.9, 1.1)) for arm in arms]
        return Speeds(1, 10, "CPU", tuple(found), found[0])

    monkeypatch.setattr(parity, "STEPS", 2)
    monkeypatch.setattr(run_comparison, "measure_throughput", measure_throughput)


def _run(
    comparison: Comparison, data: Dataset, train_trial: Callable[..., object] | None = None
) -> tuple[list[CompareEvent], Comparison]:
    def train_here(trial: Trial) -> Generator[Event, None, Summary]:
        return (yield from train(trial.config, data, CPU))

    trials = unfinished_trials(comparison)
    run = partial(run_trials, train_trial=train_trial or train_here)
    work = compare(comparison, trials, data, CPU, run)  # type: ignore[arg-type]
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return events, end.value


def _kinds(events: list[CompareEvent]) -> list[str]:
    """What happened, a word for each run of like events."""
    words: list[str] = []
    for event in events:
        word = type(event).__name__
        if isinstance(event, TrialEvent | TrialEnded):
            word += f" {event.trial.name}"
        if not words or words[-1] != word:
            words.append(word)
    return words


def test_parity_comes_first_then_whole_pairs_then_throughput(small: Dataset, arms_of: Arms) -> None:
    plan = make_plan(arms_of("scratch", "none", epochs=1), (5, 6))
    events, found = _run(replace(plan, engine="eager", engine_reason="it is faster"), small)
    kinds = [kind for kind in _kinds(events) if kind not in ("ResultSoFar", "Activity")]
    assert kinds == [
        "CompareStarted", "Stage", "Parity",
        "TrialEvent scratch-s5", "TrialEnded scratch-s5",
        "TrialEvent none-s5", "TrialEnded none-s5",
        "TrialEvent scratch-s6", "TrialEnded scratch-s6",
        "TrialEvent none-s6", "TrialEnded none-s6",
        "Stage", "Speeds",
    ]  # fmt: skip
    assert events[0] == CompareStarted(tuple(unfinished_trials(plan)), "eager", "it is faster")
    assert [[trial.seed for trial in result.trials] for result in found.arms] == [[5, 6]] * 2
    assert {trial.status for trial in found.trials} == {"completed"}
    assert found.status == "completed"
    assert found.arms[0].trials[0].epochs[0].test_acc_population is not None
    assert found.arms[1].trials[0].epochs[0].test_acc_population is None


def test_a_trial_that_fails_on_a_worker_is_not_said_to_be_of_this_machine(
    small: Dataset, arms_of: Arms
) -> None:
    (trial, *_) = unfinished_trials(make_plan(arms_of("scratch", "none", epochs=1), (5,)))
    summary = run_comparison._failed_summary(TrialFailed(trial, "no", "tcp://w:1"), small, CPU)
    assert (summary.status, summary.machine) == ("failed", "worker tcp://w:1")
    assert summary.device == trial.config.training.device
    here = run_comparison._failed_summary(TrialFailed(trial, "no"), small, CPU)
    assert (here.device, here.machine) == ("cpu", device_name(CPU))


def test_every_finding_is_followed_by_the_result_so_far(small: Dataset, arms_of: Arms) -> None:
    events, found = _run(make_plan(arms_of("scratch", "none", epochs=1), (5,)), small)
    followed = [
        type(before).__name__
        for before, after in itertools.pairwise(events)
        if isinstance(after, ResultSoFar)
    ]
    assert followed == ["Parity", "TrialEnded", "TrialEnded", "Speeds"]
    results = [event.comparison for event in events if isinstance(event, ResultSoFar)]
    assert [result.status for result in results] == ["interrupted"] * 3 + ["completed"]
    assert results[-1] == found


def test_trials_of_a_seed_share_initial_weights_and_images(small: Dataset, arms_of: Arms) -> None:
    """Two arms that are one: their trials agree to the bit, and two seeds do not."""
    _, found = _run(make_plan(arms_of("a=scratch", "b=scratch", epochs=1), (0, 1)), small)
    a, b = ([trial.epochs[0].loss for trial in result.trials] for result in found.arms)
    assert a == b
    assert a[0] != a[1]
    assert found.parity == ()  # one network with one norm: there is nothing to measure


def test_a_diverged_arm_is_counted_and_not_timed(small: Dataset, arms_of: Arms) -> None:
    wild = "wild=none,model.activation=relu,optimizer.lr=1e30"
    _, found = _run(make_plan(arms_of("scratch", wild, epochs=1), (0,)), small)
    (trial,) = found.arms[1].trials
    assert trial.status == "diverged"
    assert trial.reason is not None
    assert "the loss became" in trial.reason
    assert found.arms[0].completed
    assert found.speeds is not None
    assert [arm.arm for arm in found.speeds.arms] == ["scratch"]
    assert found.status == "failed"


def test_an_arm_whose_pieces_its_norm_cannot_normalize_is_refused_by_name(arms_of: Arms) -> None:
    plan = make_plan(arms_of("a=scratch", "b=scratch,training.norm_batch=31"), seeds=1)
    with pytest.raises(ConfigError, match="^arm b: training.norm_batch: received 31"):
        drain(load_shared(plan))


@pytest.mark.parametrize("error", [TrainingFailed("enough"), NormError("enough")])
def test_an_arm_that_raises_is_counted_with_its_reason(
    small: Dataset, arms_of: Arms, error: Exception
) -> None:
    def train_trial(trial: Trial) -> Generator[Event, None, Summary]:
        if trial.arm == "none":
            raise error
        return (yield from train(trial.config, small, CPU))

    _, found = _run(make_plan(arms_of("scratch", "none", epochs=1), (0,)), small, train_trial)
    (trial,) = found.arms[1].trials
    assert (trial.status, trial.reason, trial.norm) == ("failed", "enough", "none")
    assert trial.data == small.describe()
    assert found.arms[0].completed
    assert found.status == "failed"


def test_what_is_known_is_not_measured_again(small: Dataset, arms_of: Arms) -> None:
    _, whole = _run(make_plan(arms_of("scratch", "none", epochs=1), (0,)), small)
    events, again = _run(whole, small)
    assert events == [CompareStarted(()), ResultSoFar(whole)]
    assert again == whole

    events, _ = _run(replace(whole, speeds=None), small)
    assert not any(isinstance(event, Parity) for event in events)
    assert any(isinstance(event, Speeds) for event in events)


def test_an_arm_that_was_repaired_is_measured_again(small: Dataset, arms_of: Arms) -> None:
    """Its parity ended in an error, and it was not timed, when it still raised."""
    _, whole = _run(make_plan(arms_of("scratch", "none", epochs=1), (0,)), small)
    assert whole.speeds is not None
    broken = replace(whole.parity[0], exact=replace(whole.parity[0].exact, error="boom"))
    first_alone = replace(whole.speeds, arms=whole.speeds.arms[:1])
    _, found = _run(replace(whole, parity=(broken,), speeds=first_alone), small)
    assert [parity.is_complete for parity in found.parity] == [True]
    assert found.speeds is not None
    assert [arm.arm for arm in found.speeds.arms] == ["scratch", "none"]


def test_parity_of_an_older_version_is_measured_as_the_arms_train(
    small: Dataset, arms_of: Arms
) -> None:
    _, whole = _run(make_plan(arms_of("scratch", "none", epochs=1), (0,)), small)
    old = replace(whole.parity[0], as_trained=None)
    _, found = _run(replace(whole, parity=(old,)), small)
    assert found.parity == whole.parity


@pytest.mark.parametrize("error", [TrainingFailed("too tired"), DataError("too tired")])
def test_throughput_that_cannot_be_measured_fails_the_comparison(
    small: Dataset, arms_of: Arms, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> Generator[Stage, None, Speeds]:
        raise error
        yield

    monkeypatch.setattr(run_comparison, "measure_throughput", refuse)
    events, found = _run(make_plan(arms_of("scratch", "none", epochs=1), (0,)), small)
    assert ThroughputFailed("too tired") in events
    assert (found.speeds, found.speeds_error, found.status) == (None, "too tired", "failed")
