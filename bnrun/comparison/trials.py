"""Trials one after another, or several at a time in processes of their own."""

import contextlib
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bnrun.config import Config
from bnrun.errors import INTERRUPTED, BnrunError, NormError, TrainingFailed
from bnrun.events import Event, Notice, RunEnded
from bnrun.workers import describe_exit, process_context, start_ignoring_sigint

INTERRUPT_SECONDS = 10.0  # that a trial has to write down where it is


@dataclass(frozen=True)
class Trial:
    """One training of an arm with one seed; `run` is where it is kept."""

    arm: str
    config: Config
    run: str | None = None

    @property
    def name(self) -> str:
        """Return the trial's name: `scratch-s0`."""
        return f"{self.arm}-s{self.config.training.seed}"


@dataclass(frozen=True)
class TrialFailed:
    """A trial could not be trained to its end, and why."""

    reason: str


Start = Callable[[Trial], Generator[Event, None, None]]


def run_trials(
    trials: Sequence[Trial], start: Start, jobs: int = 1
) -> Generator[tuple[Trial, Event | TrialFailed], None, None]:
    """Yield the events of trials, each with its trial; a trial that fails does not end the rest.

    Args:
        trials: in the order in which they begin.
        start: a generator function of a trial's events. With several jobs it is called in
            another process, so it must be one that can be pickled.
        jobs: how many trials are trained at a time. One is trained in this process; more share
            its threads among them.

    Raises:
        BnrunError: what ends every trial, such as a full disk.
    """
    if jobs > 1:
        yield from _in_processes(deque(trials), start, jobs)
        return
    for trial in trials:
        for event in _events(trial, start):
            yield trial, event


def _events(trial: Trial, start: Start) -> Generator[Event | TrialFailed, None, None]:
    try:
        yield from start(trial)
    except (TrainingFailed, NormError) as failed:
        yield TrialFailed(str(failed))


def _in_processes(
    waiting: deque[Trial], start: Start, jobs: int
) -> Generator[tuple[Trial, Event | TrialFailed], None, None]:
    """Train each trial in a process: one that crashes, or exits, takes no other with it."""
    import torch

    context = process_context()
    threads = max(1, torch.get_num_threads() // jobs)
    working: dict[Any, tuple[Trial, BaseProcess]] = {}  # by the end of a pipe to read from
    ended: set[str] = set()
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                trial = waiting.popleft()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(sender, start, trial, threads))
                start_ignoring_sigint(process)
                sender.close()  # ours: so that the end of the process ends the pipe
                working[receiver] = (trial, process)
            ready: list[Any] = wait(list(working))
            for pipe in ready:
                trial, worker = working[pipe]
                try:
                    message = pipe.recv()
                except EOFError:
                    del working[pipe]
                    worker.join()
                    if trial.name in ended:
                        continue
                    message = TrialFailed(f"its process {describe_exit(worker.exitcode)}")
                if isinstance(message, BnrunError):
                    raise message
                if isinstance(message, RunEnded | TrialFailed):
                    ended.add(trial.name)
                yield trial, message
    finally:
        for _, worker in working.values():
            worker.terminate()
        for _, worker in working.values():
            worker.join(INTERRUPT_SECONDS)
            worker.kill()


def _work(sender: Connection, start: Start, trial: Trial, threads: int) -> None:
    """Train a trial in this process, and send its events.

    Ctrl-C at a terminal reaches every process of the group; only the parent heeds it, and asks
    this one to end by SIGTERM.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    warnings.showwarning = lambda message, *_, **__: sender.send(Notice(f"warning: {message}"))
    sys.stdout = sys.stderr  # what a user's own layer prints is no result of ours
    try:
        with contextlib.closing(_events(trial, start)) as events:
            for event in events:
                sender.send(event)
    except BnrunError as error:
        sender.send(error)
    except (KeyboardInterrupt, BrokenPipeError):  # asked to end; or nobody listens any more
        sys.exit(INTERRUPTED)
