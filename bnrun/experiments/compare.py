"""`compare`: arms trained on the same seeds, in pairs; their parity; their speed."""

import contextlib
import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import Event, Notice, RunStarted, Stage
from bnrun.experiments.comparison import ArmResult, Comparison, Parity, Speeds
from bnrun.experiments.parity import measure_parity
from bnrun.experiments.throughput import measure_throughput
from bnrun.experiments.trials import Start, Trial, TrialFailed, run_trials
from bnrun.summary import Summary, begin
from bnrun.training.device import device_name
from bnrun.training.memory import keep_freed_memory


@dataclass(frozen=True)
class CompareStarted:
    """A comparison begins, or goes on, with this many trials to be trained."""

    trials: int


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


CompareEvent = CompareStarted | Stage | Notice | Parity | TrialEvent | TrialEnded | Speeds


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
    """
    if device.type == "cpu":
        keep_freed_memory()
    yield CompareStarted(len(trials))
    arms = [result.arm for result in comparison.arms]
    known = {parity.arm for parity in comparison.parity}
    unknown = [arm for arm in arms[1:] if arm.name not in known]
    for done, arm in enumerate(unknown):
        yield Stage("parity", done, len(unknown))
        yield measure_parity(arms[0], arm, dataset, device)

    with contextlib.closing(_train(trials, dataset, device, start, jobs)) as events:
        for event in events:
            comparison = after(comparison, event)
            yield event
    able = [result.arm for result in comparison.arms if result.completed]
    if comparison.speeds is None and able:
        try:
            yield from measure_throughput(able, dataset, device)
        except TrainingFailed as error:
            yield Notice(f"throughput was not measured: {error}")


def _train(
    trials: Sequence[Trial], dataset: Dataset, device: torch.device, start: Start, jobs: int
) -> Generator[TrialEvent | TrialEnded, None, None]:
    """Train the trials, folding the events of each into its summary."""
    summaries = {
        trial.name: Summary(
            config=trial.config.document(),
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
                    summary = dataclasses.replace(summary, status="failed", reason=event.reason)
                case RunStarted():
                    summary = begin(event, trial.config.document(), trial.run)
                case _:
                    summary = summary.after(event)
            summaries[trial.name] = summary
            if not isinstance(event, TrialFailed):
                yield TrialEvent(trial, event, summary)
            if summary.status != "interrupted":
                yield TrialEnded(trial, summary)


def after(comparison: Comparison, event: CompareEvent) -> Comparison:
    """Return the comparison with one more event counted."""
    match event:
        case Parity():
            return dataclasses.replace(comparison, parity=(*comparison.parity, event))
        case Speeds():
            return dataclasses.replace(comparison, speeds=event)
        case TrialEvent() | TrialEnded():
            arms = [_with_trial(result, event) for result in comparison.arms]
            return dataclasses.replace(comparison, arms=tuple(arms))
        case _:
            return comparison


def ended(comparison: Comparison) -> Comparison:
    """Return the comparison with the status that its trials give it, all of them having ended."""
    whole = all(trial.status == "completed" for trial in comparison.trials)
    return dataclasses.replace(comparison, status="completed" if whole else "failed")


def _with_trial(result: ArmResult, event: TrialEvent | TrialEnded) -> ArmResult:
    if event.trial.arm != result.arm.name:
        return result
    others = [trial for trial in result.trials if trial.seed != event.summary.seed]
    trials = sorted([*others, event.summary], key=lambda trial: trial.seed)
    return ArmResult(result.arm, tuple(trials))
