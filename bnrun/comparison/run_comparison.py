"""A comparison at work: the parity of its arms, their trials, their throughput."""

import contextlib
import dataclasses
from collections.abc import Generator, Sequence

import torch

from bnrun.comparison.comparison_events import (
    CompareEvent,
    CompareStarted,
    ResultSoFar,
    ThroughputFailed,
    Trial,
    TrialEnded,
)
from bnrun.comparison.parity import measure_parity
from bnrun.comparison.result import Comparison
from bnrun.comparison.throughput import measure_throughput
from bnrun.comparison.trials import RunTrials, TrialFailed
from bnrun.data.dataset import Dataset
from bnrun.data.fetch import Progress
from bnrun.data.load import load
from bnrun.errors import BnrunError
from bnrun.events import Activity, Stage
from bnrun.training.allocator import keep_freed_memory
from bnrun.training.device import device_name, pick_device
from bnrun.training.model import build_model
from bnrun.training.norm_batch import check_norm_batch
from bnrun.training_summary import Summary, planned


def load_shared(plan: Comparison) -> Generator[Progress, None, tuple[Dataset, torch.device]]:
    """Load what the trials of all arms share: the data and the device; yield progress.

    Raises:
        NormError: (while iterating) the norm of an arm cannot be loaded or built.
        DeviceError, DataError: (while iterating) the device or the data is not available.
        ConfigError: (while iterating) see `check_norm_batch`.
    """
    configs = [result.arm.config for result in plan.arms]
    for config in configs:
        build_model(config)
    device = pick_device(configs[0].training.device)
    dataset = yield from load(configs[0].data)
    for result in plan.arms:
        check_norm_batch(result.arm.config, len(dataset.train), f"arm {result.arm.name}")
    return dataset, device


def compare(
    comparison: Comparison,
    trials: Sequence[Trial],
    dataset: Dataset,
    device: torch.device,
    run_trials: RunTrials,
) -> Generator[CompareEvent, None, Comparison]:
    """Measure what a comparison lacks, yield events on the way, and return it with its results.

    First comes the parity of every network with the first arm's, which takes seconds; then the
    trials, one seed after another, so that what is interrupted holds whole pairs; last the
    throughput, when nothing else runs. On a CPU, the process keeps the memory that it frees (see
    `allocator.py`).

    Args:
        comparison: its plan, with the engine resolved, and the results of earlier sessions.
        trials: those still to be trained (see `unfinished_trials`).
        dataset: for parity; `run_trials` has, or loads, its own.
        device: of parity; the configs of the arms name that of trials and throughput.
        run_trials: trains them, here or elsewhere (see `trial_directory.trial_runner`).

    Raises:
        BnrunError: (while iterating) what ends every trial, such as a full disk.
    """
    if device.type == "cpu":
        keep_freed_memory()
    comparison = dataclasses.replace(comparison, status="interrupted")  # unless it gets to its end
    yield CompareStarted(tuple(trials), comparison.engine, comparison.engine_reason)
    if "parity" in comparison.measures:
        comparison = yield from _measure_parity(comparison, dataset, device)
    comparison = yield from _run_trials(comparison, trials, dataset, device, run_trials)
    if "throughput" in comparison.measures:
        comparison = yield from _measure_throughput(comparison, device)
    comparison = comparison.with_final_status()
    yield ResultSoFar(comparison)
    return comparison


def _measure_parity(
    comparison: Comparison, dataset: Dataset, device: torch.device
) -> Generator[CompareEvent, None, Comparison]:
    """Measure the parity of one arm of each network with the first arm, where it is not known."""
    first, *others = (arms[0] for arms in comparison.networks)
    known = {parity.arm for parity in comparison.parity if parity.is_complete}
    unknown = [arm for arm in others if arm.name not in known]
    for done, arm in enumerate(unknown):
        yield Stage("parity", done, len(unknown))
        yield Activity(f"measuring the parity of {arm.name}")
        parity = measure_parity(first, arm, dataset, device)
        comparison = comparison.with_parity(parity)
        yield parity
        yield ResultSoFar(comparison)
    return comparison


def _run_trials(
    comparison: Comparison,
    trials: Sequence[Trial],
    dataset: Dataset,
    device: torch.device,
    run_trials: RunTrials,
) -> Generator[CompareEvent, None, Comparison]:
    """Train the trials, and count each when it has ended."""
    with contextlib.closing(run_trials(trials)) as events:
        for event in events:
            if isinstance(event, TrialFailed):
                summary = _failed_summary(event, dataset, device)
                event = TrialEnded(event.trial, summary)
            yield event
            if isinstance(event, TrialEnded):
                comparison = comparison.with_trial(event.trial.arm, event.summary)
                yield ResultSoFar(comparison)
    return comparison


def _failed_summary(failed: TrialFailed, dataset: Dataset, device: torch.device) -> Summary:
    """Return the summary of a trial that left none: it could not be built, or its process died."""
    summary = planned(failed.trial.config.to_dict(), failed.trial.run)
    on, machine = str(device), device_name(device)
    if failed.worker is not None:  # of whose device only the config's word is known
        on, machine = summary.device, f"worker {failed.worker}"
    summary = dataclasses.replace(summary, device=on, machine=machine, data=dataset.describe())
    return summary.with_failure(failed.reason)


def _measure_throughput(
    comparison: Comparison, device: torch.device
) -> Generator[CompareEvent, None, Comparison]:
    """Time the arms that completed a trial, where that was not done for the same arms before."""
    able = [result.arm for result in comparison.arms if result.completed]
    timed = [speed.arm for speed in comparison.speeds.arms] if comparison.speeds else []
    if not able or timed == [arm.name for arm in able]:
        return comparison
    try:
        speeds = yield from measure_throughput(able, device)
    except BnrunError as error:  # the trials are done, and worth more than this
        failed = ThroughputFailed(str(error))
        yield failed
        return comparison.with_speeds_error(failed.reason)
    yield speeds
    return comparison.with_speeds(speeds)
