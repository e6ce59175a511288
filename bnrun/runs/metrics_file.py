"""The metrics file of a run, `metrics.jsonl`: one event a line, in the order of time.

    {"event": "epoch_ended", "time": "2026-11-24T18:22:33Z", "epoch": 1, "loss": 0.7354, …}

Lines are only ever added. A process that is killed may leave a part of a line at the end, which
readers ignore and the next session removes. This is the only code that knows the format.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bnrun.errors import RunError
from bnrun.events import EpochEnded, Event, Notice, Probed, RunEnded, RunStarted

NAME = "metrics.jsonl"

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_KINDS: dict[str, type] = {
    "run_started": RunStarted,
    "epoch_ended": EpochEnded,
    "probed": Probed,
    "notice": Notice,
    "run_ended": RunEnded,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_PARSERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _KINDS.items()}
_NOT_AN_EVENT = (ValueError, KeyError, TypeError, RecursionError)  # ValueError: JSON and pydantic


class MetricsFile:
    """The metrics file of a run's directory, which need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME

    def append(self, event: Event, **details: Any) -> None:
        """Add an event's line, and `details` to it. Progress and checkpoints have no line.

        Raises:
            OSError: it cannot be written.
        """
        name = _NAMES.get(type(event))
        if name is None:
            return
        fields = dataclasses.asdict(event)
        if isinstance(event, RunStarted):
            fields["finished"] = len(event.finished)  # these epochs have lines of their own
        time = datetime.now(UTC).strftime(_TIME_FORMAT)
        line = json.dumps({"event": name, "time": time, **fields, **details})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def read(self) -> list[Event]:
        """Return the events of all whole lines; none where there is no file.

        Events of a kind that this version does not know are left out.

        Raises:
            RunError: a line is not an event.
            OSError: the file cannot be read.
        """
        events: list[Event] = []
        epochs: list[EpochEnded] = []
        for number, line in enumerate(self._whole_lines(), start=1):
            try:
                event = _parse(line, epochs)
            except _NOT_AN_EVENT as error:
                raise RunError(f"{self.path}:{number}: this line is not an event.") from error
            if isinstance(event, RunStarted):
                epochs = list(event.finished)
            elif isinstance(event, EpochEnded):
                epochs.append(event)
            if event is not None:
                events.append(event)
        return events

    def count_epochs(self) -> int:
        """Return how many epochs have a line, whatever the other lines hold."""
        return sum(_kind(line) == "epoch_ended" for line in self._whole_lines())

    def start_time(self) -> datetime | None:
        """Return the time of the first line (UTC); None if it cannot be read."""
        try:
            with self.path.open("rb") as file:
                text = json.loads(file.readline())["time"]
            return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
        except (OSError, *_NOT_AN_EVENT):
            return None

    def drop_partial_line(self) -> None:
        """Remove what a killed process has left after the last whole line.

        Raises:
            OSError: it cannot be removed.
        """
        raw = self._content()
        length = _whole_length(raw)
        if length != len(raw):
            os.truncate(self.path, length)

    def _whole_lines(self) -> Iterator[bytes]:
        raw = self._content()
        return iter(raw[: _whole_length(raw)].splitlines())

    def _content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""


def _whole_length(raw: bytes) -> int:
    return raw.rfind(b"\n") + 1


def _parse(line: bytes, epochs: list[EpochEnded]) -> Event | None:
    """Return a line's event, or None for an unknown kind.

    Args:
        line: a whole line.
        epochs: those that have ended before it; a run that continues names how many it kept.
    """
    fields = json.loads(line)
    name = fields["event"]
    if name not in _PARSERS:
        return None
    if name == "run_started":
        fields["finished"] = epochs[: fields["finished"]]
    event: Event = _PARSERS[name].validate_python(fields)
    return event


def _kind(line: bytes) -> object:
    try:
        return json.loads(line)["event"]
    except _NOT_AN_EVENT:
        return None
