"""What a person sees of work while it runs: bars on a terminal, plain lines elsewhere.

Every command shows progress in the same way:

    with open_screen(stderr(), quiet=quiet) as screen:
        result = drain(work, screen.show)
"""

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from bnrun.events import Activity, EpochEnded, Fetching, Notice, Progress, RunStarted, Stage
from bnrun.show.bars import Row, TimeLeft, counted, figures_of, fit
from bnrun.show.folding import Note, in_one_piece
from bnrun.show.live_lines import LiveLines
from bnrun.show.wording import figures


class Screen(Protocol):
    """Shows events as they happen."""

    def show(self, event: object) -> None:
        """Show one event; a screen passes over events that it has no form for."""


@contextlib.contextmanager
def open_screen(
    console: Console,
    *,
    quiet: bool,
    live: "type[LiveScreen] | None" = None,
    lines: "type[LineScreen] | None" = None,
) -> Iterator[Screen]:
    """Open the screen that fits the console, until the block ends.

    Python's warnings, from a user's own layer for example, become notices on it meanwhile.

    Args:
        console: where to show.
        quiet: whether to show nothing at all.
        live: the kind of screen on a terminal, where it is not `LiveScreen`.
        lines: the kind of screen elsewhere, where it is not `LineScreen`.
    """
    if quiet:
        yield QuietScreen()
        return
    with contextlib.ExitStack() as stack:
        if console.is_terminal and not console.is_dumb_terminal:
            bars = (live or LiveScreen)(console)
            stack.enter_context(bars.lines)
            screen: Screen = bars
        else:
            screen = (lines or LineScreen)(console)
        stack.enter_context(_warnings_shown_on(screen))
        yield screen


def epoch_figures(epoch: EpochEnded) -> str:
    """Write the loss and the accuracies of an epoch on one line."""
    population = epoch.test_acc_population
    (loss,) = figures(epoch.loss, digits=3)
    return f"loss {loss}  train acc {epoch.train_acc:.3f}  test acc {epoch.test_acc:.3f}" + (
        f" (population {population:.3f})" if population is not None else ""
    )


class QuietScreen:
    """Shows nothing."""

    def show(self, event: object) -> None:
        """Pass over the event."""


class LineScreen:
    """A plain line for each epoch and notice, for logs and pipes.

    Stages have no line: they are many, and soon over.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._epochs = 0
        self._source = ""

    def show(self, event: object) -> None:
        """Write the event's line, if it has one."""
        match event:
            case RunStarted():
                self._epochs = event.epochs
                if event.engine_chosen:
                    self.write(_engine_line(event))
            case EpochEnded():
                self.write(f"epoch {event.epoch}/{self._epochs}: {epoch_figures(event)}")
            case Notice():
                self.write(event.message)
            case Fetching() if event.source != self._source:
                self._source = event.source
                self.write(f"fetching Fashion-MNIST: {event.source}")

    def write(self, text: str) -> None:
        """Write a line, which is never wrapped."""
        self.console.print(Text(in_one_piece(text)), soft_wrap=True)


class LiveScreen:
    """Rows on a terminal: of a run and its epoch, of a stage, or of bytes that arrive.

    Whatever counts nothing for a while has its name there: loading torch, evaluating.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines = LiveLines(console)
        self.activity = ""
        self._counted: Stage | Fetching | None = None
        self._run: _RunRows | None = None
        self.left = TimeLeft()

    def show(self, event: object) -> None:
        """Bring the rows up to date, and draw them."""
        self.update(event)
        self.lines.draw(
            fit(self.rows(), self.console.width, ascii_only=self.console.options.ascii_only)
        )

    def update(self, event: object) -> None:
        """Bring the rows up to date, without drawing them."""
        match event:
            case Notice():
                self.print(event.message)
                return
            case Activity():
                self.activity = event.name
                if isinstance(self._counted, Fetching):
                    self._counted = None  # it has arrived
                return
            case Stage() | Fetching():
                self._count(event)
            case RunStarted() if len(event.finished) < event.epochs:  # else nothing is trained
                self._counted = None
                self._run = _RunRows(event)
                if event.engine_chosen:
                    self.print(_engine_line(event))
            case Progress() | EpochEnded() if self._run is not None:
                self._run.update(event)
        self.activity = ""

    def rows(self) -> list[Row]:
        """Return the rows, from top to bottom."""
        if self._run is not None:
            return self._run.rows(self.activity)
        match self._counted:
            case Stage() as stage:
                return self.stage_rows(stage)
            case Fetching(source, received, expected):
                label = f"{received / 1e6:4.1f} of {expected / 1e6:.0f} MB"
                bar = Row(label, received / expected, figures_of(str(self.left)))
                return [bar, activity_row(f"fetching: {source}")]
        return [activity_row(self.activity)] if self.activity else []

    def stage_rows(self, stage: Stage) -> list[Row]:
        """Return the rows of a stage."""
        label = counted(stage.done, stage.total)
        bar = Row(label, stage.done / stage.total, figures_of(str(self.left)))
        return [bar, activity_row(self.activity or stage.name)]

    def print(self, text: str) -> None:
        """Print a message above the rows."""
        self.lines.print(Note(Text(text)))

    def _count(self, event: Stage | Fetching) -> None:
        before, self._counted = self._counted, event
        if isinstance(event, Fetching):
            self.left.count(event.received, event.expected)
            return
        prepared = event.done == 0 and self.activity  # such as starting processes
        if not isinstance(before, Stage) or before.total != event.total or prepared:
            self.left = TimeLeft()  # of other work
        self.left.count(event.done, event.total)


class _RunRows:
    """The rows of a training: the run, its epoch, and the result of the epoch before."""

    def __init__(self, started: RunStarted) -> None:
        self._run = started
        self._now = Progress(len(started.finished) + 1, 0, math.nan, math.nan, None)
        self._ended = started.finished[-1] if started.finished else None
        self._left = TimeLeft()
        self._rate: float | None = None  # the last known one: a process warms up once

    def update(self, event: Progress | EpochEnded) -> None:
        """Move to where the run is."""
        self._rate = event.examples_per_second or self._rate
        if isinstance(event, Progress):
            self._now = event
            self._left.count(self._steps_done, self._run.epochs * self._run.steps_per_epoch)
        else:
            self._ended = event
            if event.epoch < self._run.epochs:
                self._now = Progress(event.epoch + 1, 0, event.loss, event.train_acc, None)

    @property
    def _steps_done(self) -> int:
        return (self._now.epoch - 1) * self._run.steps_per_epoch + self._now.step

    def rows(self, activity: str) -> list[Row]:
        """Return the rows, from top to bottom."""
        now, steps = self._now, self._run.steps_per_epoch
        doing = activity or ("first steps" if math.isnan(now.loss) else "warming up")
        if self._rate and not activity:
            doing = f"{self._rate:,.0f} examples/s"
        rows = [
            Row(
                f"epoch {counted(min(now.epoch, self._run.epochs), self._run.epochs)}",
                self._steps_done / (self._run.epochs * steps),
                figures_of(
                    figure("loss", now.loss), str(self._left), figure("train", now.accuracy)
                ),
            ),
            Row(f"batch {counted(now.step, steps)}", now.step / steps, figures_of(doing)),
        ]
        return rows if self._ended is None else [*rows, _epoch_row(self._ended)]


def _epoch_row(epoch: EpochEnded) -> Row:
    return Row(
        f"after {epoch.epoch}",
        figures=figures_of(
            figure("loss", epoch.loss),
            figure("test", epoch.test_acc),
            figure("train", epoch.train_acc),
            figure("validation", epoch.validation_acc),
            figure("population", epoch.test_acc_population),
        ),
    )


def activity_row(name: str) -> Row:
    """Return the row that says what the work does."""
    return Row(figures=figures_of(name))


def figure(name: str, value: float | None) -> str | None:
    """Write a loss or an accuracy with its name; return None where it was not measured."""
    if value is None or math.isnan(value):
        return None
    return f"{name} {figures(value, digits=3)[0]}"


def _engine_line(event: RunStarted) -> str:
    return f"engine: {event.engine} ({event.engine_chosen})"


@contextlib.contextmanager
def _warnings_shown_on(screen: Screen) -> Iterator[None]:
    """Show Python's warnings as notices, until the block ends."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        screen.show(Notice(f"warning: {message}"))

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
