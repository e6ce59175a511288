"""The run directory: the only code that writes results to disk.

    runs/<UTC time>-<config name>-<norm>-s<seed>/
        config.yaml       the resolved config
        environment.json  versions, device, threads, command, git state
        metrics.jsonl     one event a line, as it happens
        checkpoint.pt     the state after the last finished epoch; replaced atomically
        checkpoint-epoch-<n>.pt     where `training.keep_every` keeps that of epoch n
        summary.json      the result, once there is one

An epoch is first in the checkpoint and then in the metrics, so whatever a killed process leaves
behind can be gone on from: metrics are only ever added to.
"""

import dataclasses
import json
import os
import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bnrun.config import Config, Resolved
from bnrun.environment import describe
from bnrun.errors import RunError
from bnrun.events import CheckpointReady, EpochEnded, Event, Notice, RunEnded, RunStarted
from bnrun.locks import Busy, Lock
from bnrun.runs.atomic import replace
from bnrun.runs.checkpoints import serialize
from bnrun.runs.directory import make_directory
from bnrun.summary import Summary, planned

_EVENT_NAMES: dict[type, str] = {
    RunStarted: "run_started",
    EpochEnded: "epoch_ended",
    Notice: "notice",
    RunEnded: "run_ended",
}


class Run:
    """A run's directory, held for writing from `with` to its end.

    Leaving the block writes `summary.json`, whatever ended it: status `interrupted` after
    Ctrl-C, `failed` after another exception.

    `advice` is the command that goes on with it after an error.

    Raises:
        RunError: a file cannot be written, or another process is training in this directory.
    """

    def __init__(self, path: Path, config: Config, advice: str | None = None) -> None:
        self.path = path
        self.config = config
        self.advice = advice or f"bnrun train --resume {shlex.quote(str(path))}"
        self.summary: Summary | None = None
        self._lock = Lock(path / ".lock")

    def hold(self) -> None:
        """Keep other processes from training in this directory, until the `with` block ends."""
        try:
            self._lock.acquire()
        except Busy as error:
            raise RunError(f"{self.path}: another process is training in this run.") from error
        except OSError as error:
            raise self._unwritable(".lock", error) from error

    def __enter__(self) -> Self:
        self.hold()
        return self

    def record(self, event: Event) -> None:
        """Keep an event: in the metrics, in the checkpoint, and towards the summary."""
        match event:
            case CheckpointReady():
                content, every = serialize(event.state), self.config.training.keep_every
                if every and event.epoch % every == 0:
                    self._replace(f"checkpoint-epoch-{event.epoch}.pt", content)
                self._replace("checkpoint.pt", content)
                return
            case RunStarted():
                self.summary = planned(self.config.to_dict(), str(self.path)).with_event(event)
                self._begin(event)
                return
            case _ if self.summary is not None:
                self.summary = self.summary.with_event(event)
        if type(event) in _EVENT_NAMES:
            self._append(_line(event))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.summary is None:
                return
            if kind is not None and issubclass(kind, Exception):
                self.summary = self.summary.with_failure(str(error))
            self._replace("summary.json", _json(self.summary.to_dict()))
        except RunError:
            if error is None:  # else the first error is the one to tell
                raise
        finally:
            self._lock.release()

    def _begin(self, event: RunStarted) -> None:
        """Write what describes this start; in a run gone on with, mend the metrics' end first."""
        environment = describe(event.device, event.machine)
        if not (self.path / "environment.json").exists():
            self._replace("environment.json", _json(environment))
        self._mend_metrics(event.finished)
        # The finished epochs have lines of their own.
        self._append(_line(event, finished=len(event.finished), environment=environment))

    def _mend_metrics(self, finished: tuple[EpochEnded, ...]) -> None:
        """Bring the metrics that a killed process left to where its checkpoint is."""
        metrics = self.path / "metrics.jsonl"
        if not metrics.exists():
            return
        raw = metrics.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]  # without a line cut short by a kill
        if whole != raw:
            self._write(lambda: os.truncate(metrics, len(whole)), "metrics.jsonl")
        kept = whole.count(b'{"event": "epoch_ended"')
        for epoch in finished[kept:]:
            self._append(_line(epoch))

    def _append(self, line: str) -> None:
        def write() -> None:
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(line)

        self._write(write, "metrics.jsonl")

    def _replace(self, name: str, content: bytes) -> None:
        self._write(lambda: replace(self.path / name, content), name)

    def _write(self, write: Callable[[], None], name: str) -> None:
        try:
            write()
        except OSError as error:
            raise self._unwritable(name, error) from error

    def _unwritable(self, name: str, error: OSError) -> RunError:
        return RunError(
            f"{self.path / name} can't be written: {error.strerror or error}. What was there "
            f"before is whole; mend that, then go on with `{self.advice}`."
        )


def create(out: Path, resolved: Resolved) -> Run:
    """Make a new run directory below `out`, with the resolved config in it.

    Raises:
        RunError: the directory cannot be made or written.
    """
    config = resolved.config
    norm = config.model.norm.rpartition(":")[2]  # of a user's own, the class
    stem = f"{resolved.name}-{norm}-s{config.training.seed}"
    return Run(make_directory(out, stem, "config.yaml", config.yaml()), config)


def _line(event: Event, **instead: Any) -> str:
    """Write an event as one line of metrics; `instead` replaces fields of it, or adds to them."""
    fields = dataclasses.asdict(event) | instead
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return json.dumps({"event": _EVENT_NAMES[type(event)], "time": now, **fields}) + "\n"


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
