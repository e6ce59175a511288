"""A run's metrics and what its probes saw, as a tidy table and as files of TensorBoard.

A line of the table is one value: `run`, `norm`, `seed`, `step`, `epoch`, `series`, `value`. A
series is a metric of an epoch, such as `test_acc`, or what a probe saw, such as
`gradients/fc1/rms`.
"""

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from bnrun.errors import ConfigError, RunError
from bnrun.events import EpochEnded, RunStarted
from bnrun.runs.lookup import COMPARISON, RUN, TRIALS, newest_first
from bnrun.runs.metrics_file import MetricsFile
from bnrun.runs.probe_records import read_probes
from bnrun.runs.run_records import read_run

TENSORBOARD = "tensorboard"
"""The folder of TensorBoard's files, in the directory of a run or a comparison."""
EVENT_FILES = "events.out.tfevents.*"


@dataclass(frozen=True)
class Value:
    """A value of a series.

    Attributes:
        run, norm, seed: of the training.
        step: how many steps were taken before.
        epoch: the same in epochs.
        series, value: see the top of this file.
    """

    run: str
    norm: str
    seed: int
    step: int
    epoch: float
    series: str
    value: float


def exported_values(path: Path) -> list[Value]:
    """Return all values of a run, or of the trials of a comparison.

    Raises:
        RunError: a file is damaged, or there is no value yet.
        ConfigError: a config is not acceptable.
    """
    trials = newest_first(path / TRIALS, RUN)[::-1] if path in COMPARISON else [path]
    values = [value for trial in trials for value in _values(trial)]
    if not values:
        raise RunError(f"{path} has finished no epoch: there is nothing to export.")
    return values


def as_csv(values: Iterable[Value]) -> str:
    """Return values as a table with a line of headings."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(field.name for field in dataclasses.fields(Value))
    writer.writerows(dataclasses.astuple(value) for value in values)
    return file.getvalue()


def write_tensorboard(values: Iterable[Value], folder: Path, *, replace: bool) -> list[Path]:
    """Write values as event files; return their folders.

    Args:
        values: those of one run together.
        folder: of one run, where the files are made; of several, where each run has a folder.
        replace: whether event files that are there are taken away first.

    Raises:
        ConfigError: TensorBoard's package is not installed.
        RunError: event files are there, or none can be written.
    """
    writer_class = _writer_class()
    runs = {run: list(found) for run, found in groupby(values, key=lambda value: value.run)}
    folders = {run: folder / run if len(runs) > 1 else folder for run in runs}
    for run, place in folders.items():
        try:
            _make_room(place, replace=replace)
            with writer_class(str(place)) as writer:
                for value in runs[run]:
                    writer.add_scalar(value.series, value.value, value.step)
        except OSError as error:
            reason = f"{place} can't be written: {error.strerror or error}."
            raise RunError(reason) from error
    return list(folders.values())


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "TensorBoard's package is not installed. Fix: pip install tensorboard",
            key="--tensorboard",
        ) from error
    return SummaryWriter


def _make_room(folder: Path, *, replace: bool) -> None:
    """Take old event files away: beside new ones, every curve would be there twice.

    Raises:
        RunError: they are there, and not to be replaced.
    """
    for file in sorted(folder.glob(EVENT_FILES)):
        if not replace:
            raise RunError(
                f"{folder} holds event files already, which would be drawn together with these. "
                "Name another folder.",
                key="--file",
            )
        file.unlink()


def _values(path: Path) -> Iterator[Value]:
    """Yield the values of a run: metrics by epoch, then probes by step."""
    summary = read_run(path).summary
    starts = [one for one in MetricsFile(path).read() if isinstance(one, RunStarted)]
    if not starts:
        return
    steps = starts[-1].steps_per_epoch
    of_run = (path.name, summary.norm, summary.seed)
    for epoch in summary.epochs:
        for field in dataclasses.fields(EpochEnded):
            value = getattr(epoch, field.name)
            if field.name != "epoch" and value is not None:
                at = (epoch.epoch * steps, float(epoch.epoch))
                yield Value(*of_run, *at, field.name, float(value))
    for look in read_probes(path):
        for layer, seen in look.values.items():
            for quantity, value in seen.items():
                at = (look.step, round(look.step / steps, 6))
                yield Value(*of_run, *at, f"{look.probe}/{layer}/{quantity}", value)
