"""`compare`: arms trained on the same seeds, in pairs; their parity; their speed."""

import contextlib
import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from bnrun.comparison.outcome import ArmResult, Comparison, Parity, Speeds
from bnrun.comparison.parity import measure_parity
from bnrun.comparison.throughput import measure_throughput
from bnrun.comparison.trials import Start, Trial, TrialFailed, run_trials
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import Event, Stage
from bnrun.summary import Summary
from bnrun.training.device import device_name
from bnrun.training.memory import keep_freed_memory


@dataclass(frozen=True)
class CompareStarted:
    """A comparison begins, or goes on, with these trials to be trained."""

    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class TrialEvent:
    """Something happened in a trial, and what it has come to so far."""

    trial: Trial
    event: Event
    summary: Summary


@dataclass(frozen=True)
class TrialEnded:
    """A trial has ended, one way or another."""

    trial: Trial
    summary: Summary


@dataclass(frozen=True)
class ThroughputFailed:
    """The throughput could not be measured, and why."""

    reason: str


CompareEvent = CompareStarted | Stage | Parity | TrialEvent | TrialEnded | Speeds | ThroughputFailed


def compare(
    comparison: Comparison,
    trials: Sequence[Trial],
    dataset: Dataset,
    device: torch.device,
    start: Start,
    jobs: int = 1,
) -> Generator[CompareEvent, None, None]:
    """Measure what a comparison lacks, and yield it as it comes; `after` folds it in.

    First the parity of every arm with the first, which takes seconds and is known at once; then
    the trials, a seed after the other, so that what is interrupted holds whole pairs; last the
    throughput, when nothing else runs.

    Args:
        comparison: the arms and seeds, and what an earlier session found.
        trials: those still to be trained.
        dataset: for parity and throughput.
        device: of parity and throughput.
        start, jobs: see `run_trials`.

    Raises:
        BnrunError: (while iterating) what ends every trial, such as a full disk.
    """
    if device.type == "cpu":
        keep_freed_memory()
    yield CompareStarted(tuple(trials))
    arms = [result.arm for result in comparison.arms]
    known = {parity.arm for parity in comparison.parity if parity.error is None}
    unknown = [arm for arm in arms[1:] if arm.name not in known]
    for done, arm in enumerate(unknown):
        yield Stage("parity", done, len(unknown))
        yield measure_parity(arms[0], arm, dataset, device)

    with contextlib.closing(_train(trials, dataset, device, start, jobs)) as events:
        for event in events:
            comparison = after(comparison, event)
            yield event
    able = [result.arm for result in comparison.arms if result.completed]
    timed = [throughput.arm for throughput in comparison.speeds.arms] if comparison.speeds else []
    if able and timed != [arm.name for arm in able]:
        try:
            yield from measure_throughput(able, dataset, device)
        except TrainingFailed as error:
            yield ThroughputFailed(str(error))


def _train(
    trials: Sequence[Trial], dataset: Dataset, device: torch.device, start: Start, jobs: int
) -> Generator[TrialEvent | TrialEnded, None, None]:
    """Train the trials, folding the events of each into its summary."""
    summaries = {
        trial.name: Summary(
            config=trial.config.to_dict(),
            norm=trial.config.model.norm,
            device=str(device),
            machine=device_name(device),
            seed=trial.config.training.seed,
            data=dataset.describe(),
            run=trial.run,
        )
        for trial in trials
    }
    with contextlib.closing(run_trials(trials, start, jobs)) as events:
        for trial, event in events:
            summary = summaries[trial.name]
            match event:
                case TrialFailed():
                    summary = summary.with_failure(event.reason)
                case _:
                    summary = summary.with_event(event)
            summaries[trial.name] = summary
            if not isinstance(event, TrialFailed):
                yield TrialEvent(trial, event, summary)
            if summary.status != "interrupted":
                yield TrialEnded(trial, summary)


def after(comparison: Comparison, event: CompareEvent) -> Comparison:
    """Return the comparison with one more event counted."""
    match event:
        case Parity():
            others = (parity for parity in comparison.parity if parity.arm != event.arm)
            return dataclasses.replace(comparison, parity=(*others, event))
        case Speeds():
            return dataclasses.replace(comparison, speeds=event, speeds_error=None)
        case ThroughputFailed():
            return dataclasses.replace(comparison, speeds_error=event.reason)
        case TrialEvent() | TrialEnded():
            arms = [_with_trial(result, event) for result in comparison.arms]
            return dataclasses.replace(comparison, arms=tuple(arms))
        case _:
            return comparison


def ended(comparison: Comparison) -> Comparison:
    """Return the comparison with its final status, everything having been tried."""
    completed = sum(len(result.completed) for result in comparison.arms)
    planned = len(comparison.arms) * len(comparison.seeds)
    whole = completed == planned and comparison.speeds_error is None
    return dataclasses.replace(comparison, status="completed" if whole else "failed")


def _with_trial(result: ArmResult, event: TrialEvent | TrialEnded) -> ArmResult:
    if event.trial.arm != result.arm.name:
        return result
    others = [trial for trial in result.trials if trial.seed != event.summary.seed]
    trials = sorted([*others, event.summary], key=lambda trial: trial.seed)
    return ArmResult(result.arm, tuple(trials))
