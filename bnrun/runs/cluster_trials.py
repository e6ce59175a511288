"""Trials on the workers of a cluster, with their run directories here."""

import shlex
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from bnrun.comparison.cluster import Cluster, TaskLost, TaskOutput, TaskReturned, TaskStarted
from bnrun.comparison.comparison_events import Trial, TrialEnded, TrialEvent
from bnrun.comparison.trials import TrialFailed, TrialMessage, threads_of_each
from bnrun.errors import TrainingFailed
from bnrun.events import Notice
from bnrun.runs.lookup import STUDY
from bnrun.runs.run_records import read_run
from bnrun.runs.trial_parcel import event_from_dict, pack, train_parcel, unpack
from bnrun.side_by_side import run_side_by_side


def run_on_cluster(
    trials: Sequence[Trial], cluster: Cluster
) -> Generator[TrialMessage, None, None]:
    """Train trials on a cluster; their run directories come back and are written here.

    Raises:
        TrainingFailed: (while iterating) the connection to the scheduler is lost.
        BnrunError: (while iterating) a worker says what would end every trial, such as images that
            cannot be fetched.
    """
    if not trials:
        return
    try:
        yield from run_side_by_side(trials, ClusterTrials(cluster))
    except TrainingFailed as error:
        root = Path(str(trials[0].run)).parents[1]
        command = "study" if root in STUDY else "compare"
        where = f"{shlex.quote(str(root))} --cluster {shlex.quote(cluster.address)}"
        raise TrainingFailed(
            f"{error.reason}\nContinue with:\nbnrun {command} --resume {where}"
        ) from error


class ClusterTrials:
    """The workers of a cluster as a `Workplace`: one trial for each of their threads.

    Every trial computes with as many threads as one without a cluster, whatever its worker has:
    other numbers would round otherwise.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._threads = threads_of_each(cluster.share)
        self._cluster, self._tasks = cluster, cluster.tasks(train_parcel)
        self._has_workers = cluster.worker_threads > 0
        self._trials: dict[str, Trial] = {}
        self._workers: dict[str, str] = {}
        self._compared: set[str] = set()

    @property
    def count(self) -> int:
        """Return how many trials have been started and not ended."""
        return self._tasks.count

    @property
    def has_room(self) -> bool:
        """Return whether another trial should be sent."""
        return self._tasks.has_room

    def start(self, trial: Trial) -> Iterator[TrialMessage]:
        """Send a trial; it says so itself when a worker begins with it.

        Raises:
            RunError: a file of it cannot be read.
            TrainingFailed: the connection to the scheduler is lost.
        """
        self._trials[trial.name] = trial
        self._tasks.start(trial.name, pack(trial, self._threads))
        yield from ()

    def receive(self) -> Iterator[TrialMessage]:
        """Wait for a message for a second at most, and yield it if there is one.

        Raises:
            BnrunError: see `run_on_cluster`.
        """
        messages = list(self._tasks.receive())
        if not messages:
            yield from self._look_for_workers()
        for message in messages:
            trial = self._trials[message.name]
            match message:
                case TaskStarted():
                    yield from self._begin(trial, message)
                case TaskOutput():
                    yield TrialEvent(trial, event_from_dict(message.fields))
                case TaskLost():
                    del self._trials[trial.name]
                    yield TrialFailed(trial, message.reason, self._worker_of(trial))
                case TaskReturned():
                    yield self._end(trial, message)

    def close(self) -> None:
        """Cancel all trials that have not come back."""
        self._tasks.close()

    def _look_for_workers(self) -> Iterator[TrialEvent]:
        """Say of a trial that it waits, where the last worker has gone."""
        had, self._has_workers = self._has_workers, self._cluster.worker_threads > 0
        if had and not self._has_workers:
            waits = (
                f"no worker is left at {self._cluster.address}; it waits for one to join. One that "
                "lacks bnrun ends at once: its log says so"
            )
            yield TrialEvent(next(iter(self._trials.values())), Notice(waits))

    def _begin(self, trial: Trial, task: TaskStarted) -> Iterator[TrialEvent]:
        """Say what a worker has of other versions, and that a trial starts anew."""
        before, self._workers[trial.name] = self._workers.get(trial.name), task.worker
        if before is not None:
            lost = f"worker {before} was lost; the trial starts again on {task.worker}"
            yield TrialEvent(trial, Notice(lost))
        if task.differences and task.worker not in self._compared:
            self._compared.add(task.worker)
            differences = "; ".join(task.differences)
            yield TrialEvent(
                trial, Notice(f"worker {task.worker} has {differences}: it may round otherwise")
            )

    def _end(self, trial: Trial, returned: TaskReturned) -> TrialEnded | TrialFailed:
        """Write down what came back of a trial, and return how it ended."""
        del self._trials[trial.name]
        worker = self._worker_of(trial)
        unpack(trial, returned.result["files"], worker)
        if returned.result["failure"] is not None:
            return TrialFailed(trial, str(returned.result["failure"]), worker)
        return TrialEnded(trial, read_run(Path(str(trial.run))).summary)

    def _worker_of(self, trial: Trial) -> str:
        """Return the address of the worker that had a trial last."""
        return self._workers.get(trial.name, "unknown")
