"""Work that the workers of a Dask cluster do, and what they say meanwhile.

The workers get bytes and send back plain values. What a worker says goes to the scheduler as an
event of a topic, and from there to this process; it is late by milliseconds. The result of a task
follows when it is asked for. Where a worker dies, Dask runs its tasks again on another one, up to
`distributed.scheduler.allowed-failures` times (3).

Dask is imported inside functions: it takes a second, and is an extra of the package.
"""

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import platform
import queue
import re
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from bnrun import __version__
from bnrun.errors import BnrunError, ConfigError, EngineError, TrainingFailed, did_you_mean

LOCAL = "local"
"""The address that stands for workers of this process."""

CONNECT_SECONDS = 10.0
"""Time limit for the scheduler's first answer."""

POLL_SECONDS = 1.0
"""Longest time between two looks: at the connection here, at whether a task is wanted there."""

COUNT_SECONDS = 2.0
"""How long the number of worker threads is taken to be as it was."""

OPTION = "--cluster"

_ADDRESS = re.compile(r"(\w+://)?(\[[\da-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}/?|inproc://\S+")
"""HOST:PORT, a protocol before it or not; HOST may be an IPv6 address in brackets."""

Work = Callable[[bytes, "TaskContext"], Any]
"""Runs on a worker: takes a parcel, sends events through its context, returns plain values."""


@dataclass(frozen=True)
class TaskStarted:
    """A worker starts a task; `differences` are versions that are not those of this process."""

    name: str
    worker: str
    differences: tuple[str, ...]


@dataclass(frozen=True)
class TaskOutput:
    """A task has sent plain values."""

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class TaskReturned:
    """A task is done, with this result."""

    name: str
    result: Any


@dataclass(frozen=True)
class TaskLost:
    """A task was given up: so many workers died while they had it."""

    name: str
    reason: str


Message = TaskStarted | TaskOutput | TaskReturned | TaskLost


class Unwanted(Exception):
    """Nobody waits for the result of this task any more."""


class TaskContext:
    """What a task has on its worker: a way to send values, and to learn whether it is wanted."""

    def __init__(self, worker: Any, topic: str, name: str) -> None:
        self._worker, self._topic, self._name = worker, topic, name
        self._key = worker.get_current_task()

    def send(self, **fields: Any) -> None:
        """Send plain values to the process that started the task."""
        self._worker.log_event(self._topic, {"name": self._name, "fields": fields})

    def report_start(self, expected: Mapping[str, str]) -> None:
        """Report that the task starts here, and which versions are others than expected.

        Raises:
            EngineError: this is another version of bnrun, or torch is not installed here.
        """
        address, here = self._worker.address, versions()
        differences = [name for name in expected if here[name] != expected[name]]
        self._worker.log_event(
            self._topic,
            {
                "name": self._name,
                "at": address,
                "differences": [
                    f"{name} {here[name]}, not {expected[name]}" for name in differences
                ],
            },
        )
        if "bnrun" in differences or not here["torch"]:
            wrong = "bnrun" if "bnrun" in differences else "torch"
            raise EngineError(
                f"{wrong} is {here[wrong] or 'not installed'} there, and {expected[wrong]} here. "
                "Install the same versions on every worker."
            )

    def check_wanted(self) -> None:
        """Check that the result of the task is still waited for.

        Raises:
            Unwanted: it is not: the command was interrupted or killed, or this worker closes.
        """
        task = self._worker.state.tasks.get(self._key)
        is_open = self._worker.status.name in ("running", "paused")
        if not is_open or task is None or task.state not in ("executing", "long-running"):
            raise Unwanted


def versions() -> dict[str, str]:
    """Return the versions that decide whether two machines compute the same; empty: not there."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"bnrun": __version__, "torch": torch, "python": python}


class Cluster:
    """A connection to the workers of a cluster; a context manager.

    Attributes:
        address: of the scheduler; `local` for workers of this process.
        share: how many trials share the threads of one machine.
    """

    def __init__(self, address: str, client: Any, share: int = 1, own: Any = None) -> None:
        self.address, self.share = address, share
        self._client, self._own = client, own
        self._counted, self._threads = 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection, which cancels what is not done."""
        with contextlib.suppress(Exception):  # a scheduler that is gone does not answer
            self._client.close(timeout=CONNECT_SECONDS)
        if self._own is not None:
            self._own.close(timeout=CONNECT_SECONDS)

    @property
    def is_connected(self) -> bool:
        """Return whether the scheduler answered the last time that it was heard of."""
        return bool(self._client.status == "running")

    @property
    def worker_threads(self) -> int:
        """Return how many threads the workers have together, as of some seconds ago."""
        if time.monotonic() - self._counted > COUNT_SECONDS and self.is_connected:
            with contextlib.suppress(Exception):  # the connection is gone: `receive` says so
                self._threads = sum(self._client.nthreads().values())
                self._counted = time.monotonic()
        return self._threads

    @property
    def sentence(self) -> str:
        """Return what there is to work on."""
        count = self.worker_threads
        if not count:
            return f"{self.address} has no workers yet: the trials start when one joins"
        return f"{self.address} trains {count} trial{'s' if count > 1 else ''} at a time"

    def tasks(self, work: Work) -> "Tasks":
        """Return an empty list of tasks that each do this work."""
        return Tasks(self, self._client, work)


class Tasks:
    """Tasks of one kind on a cluster: started here, and listened to.

    A few more are started than there are worker threads, so that no worker waits for this process;
    and not all at once, so that thousands of them are no burden to the scheduler.
    """

    def __init__(self, cluster: Cluster, client: Any, work: Work) -> None:
        self._cluster, self._client, self._work = cluster, client, work
        self._topic = f"bnrun-{uuid.uuid4().hex}"
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._futures: dict[str, Any] = {}
        client.subscribe_topic(self._topic, lambda event: self._inbox.put(event[1]))

    @property
    def count(self) -> int:
        """Return how many tasks have been started and not ended."""
        return len(self._futures)

    @property
    def has_room(self) -> bool:
        """Return whether another task should be started."""
        return self.count < 2 * max(1, self._cluster.worker_threads)

    def start(self, name: str, parcel: bytes) -> None:
        """Start a task; `name` differs from those of the others.

        Raises:
            TrainingFailed: there is no connection any more.
        """
        self._check_connection()
        future = self._client.submit(
            _run, self._work, parcel, self._topic, name, versions(),
            key=f"{name}-{self._topic}", pure=False,
        )  # fmt: skip
        self._futures[name] = future
        future.add_done_callback(lambda future: self._inbox.put((name, future)))

    def receive(self) -> Iterator[Message]:
        """Wait for a message for a second at most, and yield it if there is one.

        Raises:
            BnrunError: a task raised one, on the worker that it names.
            TrainingFailed: the connection is lost, and with it all tasks; or a worker cannot run
                the tasks at all.
        """
        try:
            message = self._inbox.get(timeout=POLL_SECONDS)
        except queue.Empty:
            self._check_connection()
            return
        if isinstance(message, tuple):
            name, future = message
            if name in self._futures:
                yield self._end(name, future)
                del self._futures[name]
        elif message["name"] in self._futures:
            yield _read(message)

    def close(self) -> None:
        """Cancel what is not done. A worker notices within seconds."""
        with contextlib.suppress(Exception):  # the connection may be gone
            if self._cluster.is_connected:
                self._client.unsubscribe_topic(self._topic)
                self._client.cancel(list(self._futures.values()))
        self._futures.clear()

    def _end(self, name: str, future: Any) -> TaskReturned | TaskLost:
        """Return how a task ended."""
        from distributed import KilledWorker

        if future.status == "finished":
            try:
                return TaskReturned(name, future.result())
            except Exception as error:
                self._check_connection()
                raise TrainingFailed(f"{name}: its result did not arrive: {error}.") from error
        if future.status == "error":
            raised = future.exception()
            if isinstance(raised, KilledWorker):
                times, last = raised.allowed_failures + 1, raised.last_worker.address
                return TaskLost(name, f"{times} workers died while they had it, {last} the last")
            if isinstance(raised, BnrunError):
                raise raised
            cause = raised.__cause__ or raised
            raise TrainingFailed(
                f"a worker, or the scheduler, at {self._cluster.address} can't run a trial: "
                f"{type(cause).__name__}: {cause}. All of them need bnrun {__version__} and Dask "
                "as they are here."
            )
        self._check_connection(is_lost=True)
        raise AssertionError

    def _check_connection(self, is_lost: bool = False) -> None:
        """Check that the scheduler is there.

        Raises:
            TrainingFailed: it is not.
        """
        if is_lost or not self._cluster.is_connected:
            lost = "1 trial that was" if self.count == 1 else f"{self.count} trials that were"
            raise TrainingFailed(
                f"the connection to the scheduler at {self._cluster.address} is lost, and with it "
                f"{lost} not done. What came back before is kept."
            )


def _run(work: Work, parcel: bytes, topic: str, name: str, expected: Mapping[str, str]) -> Any:
    """Do a task, on a worker."""
    from distributed import get_worker

    worker = get_worker()
    # Dask's nanny starts its worker as a daemon, which multiprocessing allows no children.
    multiprocessing.current_process().daemon = False
    context = TaskContext(worker, topic, name)
    try:
        context.report_start(expected)
        return work(parcel, context)
    except BnrunError as error:
        place = f"worker {worker.address}"
        raise type(error)(f"{place}: {error.reason}", error.key, error.source) from error


def _read(message: Mapping[str, Any]) -> TaskStarted | TaskOutput:
    name = str(message["name"])
    if "at" in message:
        return TaskStarted(name, str(message["at"]), tuple(map(str, message["differences"])))
    return TaskOutput(name, message["fields"])


def connect(address: str, jobs: int = 1) -> Cluster:
    """Connect to a cluster.

    Args:
        address: of its scheduler, such as `tcp://10.0.0.1:8786`; or `local`, which starts a
            scheduler and workers in this process.
        jobs: how many workers `local` has. They share the threads of this process.

    Raises:
        ConfigError: Dask is not installed; this is not an address; or no scheduler answers within
            `CONNECT_SECONDS`.
    """
    _require_dask()
    if address == LOCAL:
        return _start_local(jobs)
    _check_address(address)
    from distributed import Client

    _silence_logs()
    client = Client.__new__(Client)  # by itself, so that there is one to close where this fails
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `TaskContext` compares the versions of each worker
            client.__init__(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # Dask raises a dozen kinds, for what no scheduler answers, too
        client.status = "closed"  # otherwise it waits for an answer once more when it is collected
        raise ConfigError(
            f"received '{address}', and no scheduler answers there within {CONNECT_SECONDS:g} "
            f"seconds. It must be the address that `dask scheduler` shows, such as "
            f"tcp://10.0.0.1:8786, or {LOCAL}.",
            key=OPTION,
        ) from error
    return Cluster(address, client)


def _check_address(address: str) -> None:
    """Check that a text can be the address of a scheduler.

    Raises:
        ConfigError: it cannot; Dask would look for it for `CONNECT_SECONDS`.
    """
    if not _ADDRESS.fullmatch(address):
        near = did_you_mean(address, [LOCAL])
        raise ConfigError(
            f"received '{address}', which is no address. It must be the one that `dask scheduler` "
            f"shows, such as tcp://10.0.0.1:8786, or {LOCAL}.{near}",
            key=OPTION,
        )


def _start_local(jobs: int) -> Cluster:
    """Start workers in this process: trials have processes of their own anyway."""
    from distributed import Client, LocalCluster

    _silence_logs()
    own = LocalCluster(
        n_workers=jobs,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",  # None would be port 8787, which may be in use
        scheduler_kwargs={"dashboard": False},
        memory_limit=None,  # it is that of this process, with its torch and its images
        silence_logs=False,
    )
    return Cluster(LOCAL, Client(own, set_as_default=False), share=jobs, own=own)


def _require_dask() -> None:
    """Check that Dask is installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError(
            "this needs Dask, which is not installed. Fix: pip install 'bnrun[cluster]', or "
            "pip install '.[cluster]' in a copy of the source.",
            key=OPTION,
        )


def _silence_logs() -> None:
    """Keep Dask from writing between the lines of a display; BNRUN_DEBUG=1 lets it."""
    if os.environ.get("BNRUN_DEBUG") != "1":
        for name in ("distributed", "distributed.client", "distributed.gc", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
