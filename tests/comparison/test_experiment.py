"""The study itself: its order, what it counts, what it goes on from."""

from collections.abc import Callable, Generator
from dataclasses import replace

import pytest
import torch

from bnrun.comparison import experiment as module
from bnrun.comparison import parity, throughput
from bnrun.comparison.experiment import (
    CompareEvent,
    CompareStarted,
    ThroughputFailed,
    TrialEnded,
    TrialEvent,
    after,
    compare,
    ended,
)
from bnrun.comparison.outcome import Arm, ArmResult, Comparison, Parity, Speeds
from bnrun.comparison.trials import Trial
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import Event, Stage
from bnrun.training import train

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps and rounds: what is measured has its own tests."""
    monkeypatch.setattr(parity, "STEPS", 2)
    monkeypatch.setattr(throughput, "ROUNDS", 2)


def _plan(arms: tuple[Arm, ...], seeds: tuple[int, ...]) -> tuple[Comparison, list[Trial]]:
    trials = [Trial(arm.name, arm.with_seed(seed)) for seed in seeds for arm in arms]
    return Comparison(tuple(ArmResult(arm, ()) for arm in arms), seeds), trials


def _run(
    comparison: Comparison, trials: list[Trial], data: Dataset
) -> tuple[list[CompareEvent], Comparison]:
    def start(trial: Trial) -> Generator[Event, None, None]:
        yield from train(trial.config, data, CPU)

    events = list(compare(comparison, trials, data, CPU, start))
    for event in events:
        comparison = after(comparison, event)
    return events, comparison


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
    comparison, trials = _plan(arms_of("scratch", "none", epochs=1), (5, 6))
    events, found = _run(comparison, trials, small)
    assert _kinds(events) == [
        "CompareStarted", "Stage", "Parity",
        "TrialEvent scratch-s5", "TrialEnded scratch-s5",
        "TrialEvent none-s5", "TrialEnded none-s5",
        "TrialEvent scratch-s6", "TrialEnded scratch-s6",
        "TrialEvent none-s6", "TrialEnded none-s6",
        "Stage", "Speeds",
    ]  # fmt: skip
    assert events[0] == CompareStarted(tuple(trials))
    assert [[trial.seed for trial in result.trials] for result in found.arms] == [[5, 6]] * 2
    assert {trial.status for trial in found.trials} == {"completed"}
    assert ended(found).status == "completed"
    assert found.arms[0].trials[0].epochs[0].test_acc_population is not None
    assert found.arms[1].trials[0].epochs[0].test_acc_population is None


def test_trials_of_a_seed_share_initial_weights_and_images(small: Dataset, arms_of: Arms) -> None:
    """Two arms that are one: their trials agree to the bit, and two seeds do not."""
    comparison, trials = _plan(arms_of("a=scratch", "b=scratch", epochs=1), (0, 1))
    _, found = _run(comparison, trials, small)
    a, b = ([trial.epochs[0].loss for trial in result.trials] for result in found.arms)
    assert a == b
    assert a[0] != a[1]


def test_a_diverged_arm_is_counted_and_not_timed(small: Dataset, arms_of: Arms) -> None:
    wild = "wild=none,model.activation=relu,optimizer.lr=1e30"
    comparison, trials = _plan(arms_of("scratch", wild, epochs=1), (0,))
    _, found = _run(comparison, trials, small)
    (trial,) = found.arms[1].trials
    assert trial.status == "diverged"
    assert trial.reason is not None
    assert "the loss became" in trial.reason
    assert found.arms[0].completed
    assert found.speeds is not None
    assert [arm.arm for arm in found.speeds.arms] == ["scratch"]
    assert ended(found).status == "failed"


def test_an_arm_that_raises_is_counted_with_its_reason(
    small: Dataset, arms_of: Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, trials = _plan(arms_of("scratch", "none", epochs=1), (0,))

    def start(trial: Trial) -> Generator[Event, None, None]:
        for event in train(trial.config, small, CPU):
            yield event
            if trial.arm == "none":
                raise TrainingFailed("epoch 1, step 1: enough")

    for event in compare(comparison, trials, small, CPU, start):
        comparison = after(comparison, event)
    (trial,) = comparison.arms[1].trials
    assert (trial.status, trial.reason) == ("failed", "epoch 1, step 1: enough")
    assert comparison.arms[0].completed
    assert ended(comparison).status == "failed"


def test_what_is_known_is_not_measured_again(small: Dataset, arms_of: Arms) -> None:
    comparison, trials = _plan(arms_of("scratch", "none", epochs=1), (0,))
    _, whole = _run(comparison, trials, small)
    events, again = _run(whole, [], small)
    assert events == [CompareStarted(())]
    assert again == whole

    events, _ = _run(replace(whole, speeds=None), [], small)
    assert not any(isinstance(event, Parity) for event in events)
    assert isinstance(events[-1], Speeds)


def test_a_mended_arm_is_measured_again(small: Dataset, arms_of: Arms) -> None:
    """Its parity ended in an error, and it was not timed, when it still raised."""
    comparison, trials = _plan(arms_of("scratch", "none", epochs=1), (0,))
    _, whole = _run(comparison, trials, small)
    assert whole.speeds is not None
    broken = replace(whole.parity[0], error="boom")
    first_alone = replace(whole.speeds, arms=whole.speeds.arms[:1])
    _, mended = _run(replace(whole, parity=(broken,), speeds=first_alone), [], small)
    assert [parity.error for parity in mended.parity] == [None]
    assert mended.speeds is not None
    assert [arm.arm for arm in mended.speeds.arms] == ["scratch", "none"]


def test_an_interrupted_trial_is_kept_as_far_as_it_came(small: Dataset, arms_of: Arms) -> None:
    comparison, trials = _plan(arms_of("scratch", "none", epochs=3), (0,))

    def start(trial: Trial) -> Generator[Event, None, None]:
        yield from train(trial.config, small, CPU)

    for event in compare(comparison, trials, small, CPU, start):
        comparison = after(comparison, event)
        if isinstance(event, TrialEvent) and len(event.summary.epochs) == 2:
            break
    (trial,) = comparison.trials
    assert (trial.status, len(trial.epochs)) == ("interrupted", 2)
    assert comparison.status == "interrupted"


def test_throughput_that_cannot_be_measured_fails_the_comparison(
    small: Dataset, arms_of: Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Generator[Stage | Speeds, None, None]:
        raise TrainingFailed("too tired")
        yield

    monkeypatch.setattr(module, "measure_throughput", refuse)
    comparison, trials = _plan(arms_of("scratch", "none", epochs=1), (0,))
    events, found = _run(comparison, trials, small)
    assert events[-1] == ThroughputFailed("too tired")
    assert (found.speeds, found.speeds_error) == (None, "too tired")
    assert ended(found).status == "failed"
