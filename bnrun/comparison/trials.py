"""The trials of a comparison, trained one after another, or several at a time in processes."""

import contextlib
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bnrun.comparison.comparison_events import Trial, TrialEnded, TrialEvent
from bnrun.comparison.result import Comparison
from bnrun.errors import INTERRUPTED, BnrunError, NormError, TrainingFailed
from bnrun.events import Activity, Event, Notice, mapped
from bnrun.training_summary import Summary
from bnrun.workers import describe_exit, process_context, start_ignoring_sigint

INTERRUPT_SECONDS = 10.0
"""Time that an interrupted trial has to write down how far it came."""

FINISHED = ("completed", "diverged")
"""Statuses of a trial that is not trained again. A failed one may pass once its layer is fixed."""

TrainTrial = Callable[[Trial], Generator[Event, None, Summary]]


@dataclass(frozen=True)
class TrialFailed:
    """A trial could not be trained to its end, and why."""

    trial: Trial
    reason: str


TrialMessage = TrialEvent | TrialEnded | TrialFailed


def unfinished_trials(
    comparison: Comparison, run_of: Callable[[str], str | None] = lambda name: None
) -> list[Trial]:
    """Return the trials still to be trained, seed by seed, so that pairs are complete early.

    Args:
        comparison: the plan, and the trials so far.
        run_of: gives the directory for the trial of a name.
    """
    finished = {
        (result.arm.name, trial.seed)
        for result in comparison.arms
        for trial in result.trials
        if trial.status in FINISHED
    }
    trials = [
        Trial(result.arm.name, result.arm.with_seed(seed))
        for seed in comparison.seeds
        for result in comparison.arms
        if (result.arm.name, seed) not in finished
    ]
    return [Trial(trial.arm, trial.config, run_of(trial.name)) for trial in trials]


def count_trials(comparison: Comparison) -> tuple[int, int]:
    """Return how many trials are finished, and how many are planned."""
    planned = len(comparison.arms) * len(comparison.seeds)
    return planned - len(unfinished_trials(comparison)), planned


def run_trials(
    trials: Sequence[Trial], train_trial: TrainTrial, jobs: int = 1
) -> Generator[TrialMessage, None, None]:
    """Yield the events of trials; the last one of each is a TrialEnded or a TrialFailed.

    A trial that fails does not end the others.

    Args:
        trials: in the order in which they start.
        train_trial: yields a trial's events and returns its summary. With several jobs it runs
            in other processes, so it must be picklable.
        jobs: how many trials are trained at a time. One is trained in this process; several
            share its threads among them.

    Raises:
        BnrunError: what would end every trial, such as a full disk.
    """
    if jobs > 1:
        yield from _in_processes(deque(trials), train_trial, jobs)
        return
    for trial in trials:
        yield from _trial_events(trial, train_trial)


def _trial_events(trial: Trial, train_trial: TrainTrial) -> Generator[TrialMessage, None, None]:
    try:
        summary = yield from mapped(train_trial(trial), lambda event: TrialEvent(trial, event))
    except (TrainingFailed, NormError) as failed:
        yield TrialFailed(trial, str(failed))
    else:
        yield TrialEnded(trial, summary)


def _in_processes(
    waiting: deque[Trial], train_trial: TrainTrial, jobs: int
) -> Generator[TrialMessage, None, None]:
    """Train each trial in a process: one that crashes or exits takes no other with it."""
    import torch

    processes = _Processes(train_trial, threads=max(1, torch.get_num_threads() // jobs))
    with contextlib.closing(processes):
        while waiting or processes.count:
            while waiting and processes.count < jobs:
                yield TrialEvent(waiting[0], Activity("starting a process"))
                processes.start(waiting.popleft())
            yield from processes.receive()


class _Processes:
    """The trials that are being trained, each in a process of its own."""

    def __init__(self, train_trial: TrainTrial, threads: int) -> None:
        self._train_trial, self._threads = train_trial, threads
        self._working: dict[Any, tuple[Trial, BaseProcess]] = {}  # by the pipe to read from
        self._ended: set[str] = set()

    @property
    def count(self) -> int:
        """Return how many processes there are."""
        return len(self._working)

    def start(self, trial: Trial) -> None:
        """Start a process that trains a trial."""
        context = process_context()
        receiver, sender = context.Pipe(duplex=False)
        arguments = (sender, self._train_trial, trial, self._threads)
        process = context.Process(target=_work, args=arguments)
        start_ignoring_sigint(process)
        sender.close()  # this process's copy, so that the pipe ends with the other one
        self._working[receiver] = (trial, process)

    def receive(self) -> Iterator[TrialMessage]:
        """Wait for messages, and yield one from every process that has any.

        Raises:
            BnrunError: one of them was that of an error that would end every trial.
        """
        ready: list[Any] = wait(list(self._working))
        for pipe in ready:
            trial, _ = self._working[pipe]
            try:
                message = pipe.recv()
            except (EOFError, OSError):  # OSError: it was killed while it sent a message
                message = self._lost(pipe)
            if isinstance(message, BnrunError):
                raise message
            if isinstance(message, TrialEnded | TrialFailed):
                self._ended.add(trial.name)
            if message is not None:
                yield message

    def close(self) -> None:
        """Ask all processes to end, and kill those that do not."""
        for _, process in self._working.values():
            process.terminate()
        for _, process in self._working.values():
            process.join(INTERRUPT_SECONDS)
            process.kill()

    def _lost(self, pipe: Any) -> TrialFailed | None:
        """Return the failure of a trial whose process has ended; None if it sent its own result."""
        trial, process = self._working.pop(pipe)
        process.join()
        if trial.name in self._ended:
            return None
        return TrialFailed(trial, f"its process {describe_exit(process.exitcode)}")


def _work(sender: Connection, train_trial: TrainTrial, trial: Trial, threads: int) -> None:
    """Train a trial in this process, and send its events.

    Ctrl-C at a terminal reaches every process of the group. This one ignores it; the parent handles
    it, and asks this one to end by SIGTERM.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    warnings.showwarning = lambda message, *_, **__: sender.send(
        TrialEvent(trial, Notice(f"warning: {message}"))
    )
    sys.stdout = sys.stderr  # stdout is for results; a user's layer may print
    try:
        with contextlib.closing(_trial_events(trial, train_trial)) as events:
            for event in events:
                sender.send(event)
    except BnrunError as error:
        sender.send(error)
    except (KeyboardInterrupt, BrokenPipeError):  # asked to end, or nobody reads any more
        sys.exit(INTERRUPTED)
