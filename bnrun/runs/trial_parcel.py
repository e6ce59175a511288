"""A trial that is trained elsewhere: the files that go there, and those that come back.

What goes is the trial's config, the copy of its norm's file, and its run directory where it was
interrupted before. There they make a comparison's directory with one trial in it, which the trial
continues as it would here. Its run directory comes back as bytes, and is written file by file in
the order in which a run writes them: cut short at any point, it is a run that can continue.

This module loads no torch: a worker's own process needs none.
"""

import dataclasses
import json
import pickle
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from pydantic import TypeAdapter

from bnrun.comparison.cluster import POLL_SECONDS, TaskContext
from bnrun.comparison.comparison_events import Trial, TrialEvent
from bnrun.comparison.trials import TrialFailed, TrialProcesses
from bnrun.errors import RunError
from bnrun.events import CheckpointReady, Event, Progress
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.lookup import TRIALS
from bnrun.runs.norm_files import find_norm, norm_folder
from bnrun.training_summary import Summary

PROGRESS_SECONDS = 1.0
"""Shortest time between two reports of progress of a trial: with many workers, they add up."""

_ORDER = ("config.yaml", "norm/", "environment.json", "checkpoint-", "checkpoint", "metrics")
"""How the names of a run's files begin, in the order in which they are written."""

_READERS: dict[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind) for kind in get_args(Event) if kind is not CheckpointReady
}


def pack(trial: Trial, threads: int) -> bytes:
    """Return a trial as a parcel for a worker, which trains it with so many threads.

    Raises:
        RunError: a file of it cannot be read.
    """
    assert trial.run is not None
    run = Path(trial.run)
    root = run.parents[1]
    try:
        files = {**_files(norm_folder(root, trial.arm), root), **_files(run, root)}
    except OSError as error:
        raise RunError(f"{error.filename} can't be read: {error.strerror}.") from error
    return pickle.dumps((trial, files, threads))


def train_parcel(parcel: bytes, context: TaskContext) -> dict[str, Any]:
    """Train the trial of a parcel, on a worker; send its events, and return its files.

    Returns:
        `files`: content by path below the run directory; and `failure`: why the trial failed, None
        where it did not, or where its files say so.

    Raises:
        Unwanted: the result is not waited for any more.
        BnrunError: what would end every trial.
    """
    trial, files, threads = pickle.loads(parcel)
    with TemporaryDirectory(prefix="bnrun-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        _write(root, files)
        run = root / TRIALS / Path(trial.run).name
        # The copy of the norm's file is taken in any case, and the user was told why where it was.
        config, _ = find_norm(norm_folder(root, trial.arm), trial.config, prefers_copy=True)
        failure = _train(Trial(trial.arm, config, str(run)), threads, context)
        return {"files": _files(run, run), "failure": failure}


def _train(trial: Trial, threads: int, context: TaskContext) -> str | None:
    """Train a trial in a process of its own; return why it failed, None where it did not."""
    failure, reported = None, 0.0
    with closing(TrialProcesses(_train_trial, 1, threads, POLL_SECONDS)) as processes:
        messages: Iterator[Any] = processes.start(trial)
        while True:
            for message in messages:
                if isinstance(message, TrialFailed):
                    failure = message.reason
                elif isinstance(message, TrialEvent):
                    is_progress = isinstance(message.event, Progress)
                    if is_progress and time.monotonic() - reported < PROGRESS_SECONDS:
                        continue
                    reported = time.monotonic() if is_progress else reported
                    context.send(**event_to_dict(message.event))
            context.check_wanted()
            if not processes.count:
                return failure
            messages = processes.receive()


def _train_trial(trial: Trial) -> Generator[Event, None, Summary]:
    """Train a trial in its directory, in a process that may load torch."""
    from bnrun.runs.trial_directory import train_trial

    return (yield from train_trial(trial))


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return an event of a training as plain values."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


def event_from_dict(fields: Mapping[str, Any]) -> Event:
    """Return the event that plain values describe.

    Raises:
        KeyError, ValueError: they describe none.
    """
    values = dict(fields)
    event: Event = _READERS[values.pop("event")].validate_python(values)
    return event


def unpack(trial: Trial, files: Mapping[str, bytes], worker: str) -> None:
    """Write the files of a trial that came back into its run directory.

    `environment.json` gets the address of the worker, and the command of this process.

    Raises:
        RunError: one cannot be written, or is not a file of a run directory.
    """
    path = Path(str(trial.run))
    here: dict[str, dict[str, Any]] = {
        "summary.json": {"run": str(path)},
        "environment.json": {"worker": worker, "command": sys.argv, "folder": str(Path.cwd())},
    }
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise RunError(f"{trial.name}: {worker} sent a file '{name}', outside of its folder.")
    try:
        _write(
            path,
            {
                name: _with(files[name], here[name]) if name in here else files[name]
                for name in sorted(files, key=_place)
            },
        )
    except OSError as error:
        raise RunError(
            f"{path} can't be written: {error.strerror or error}. Make room or allow writing; the "
            "trial is then trained again."
        ) from error


def _place(name: str) -> tuple[int, str]:
    """Return a file's place among those of a run; what is not known comes last."""
    starts = (number for number, start in enumerate(_ORDER) if name.startswith(start))
    return next(starts, len(_ORDER)), name


def _with(content: bytes, values: Mapping[str, Any]) -> bytes:
    return (json.dumps(json.loads(content) | values, indent=2) + "\n").encode()


def _files(folder: Path, root: Path) -> dict[str, bytes]:
    """Return the content of the files in a folder, but for hidden ones, by path below the root."""
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
