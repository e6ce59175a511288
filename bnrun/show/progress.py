"""What a run looks like while it works: a live display on a terminal, plain lines elsewhere."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from bnrun import events
from bnrun.events import EpochEnded, Fetching, Notice, RunStarted


class Screen(Protocol):
    """Shows events as they happen."""

    def show(self, event: object) -> None:
        """Show one event; those that mean nothing to this screen pass."""


@contextlib.contextmanager
def open_screen(
    console: Console,
    *,
    quiet: bool,
    live: "type[LiveScreen] | None" = None,
    lines: "type[LineScreen] | None" = None,
) -> Iterator[Screen]:
    """Open the screen that fits: none if `quiet`, a live one on a terminal, else lines.

    They are a training's, unless others are given. Python's warnings, from a user's own layer for
    example, become lines of the screen as well.
    """
    if quiet:
        yield QuietScreen()
        return
    with contextlib.ExitStack() as stack:
        if console.is_terminal:
            bars = (live or LiveScreen)(console)
            stack.enter_context(bars.progress)
            screen: Screen = bars
        else:
            screen = (lines or LineScreen)(console)
        stack.enter_context(_warnings_shown_on(screen))
        yield screen


def epoch_figures(epoch: EpochEnded) -> str:
    """Write what an epoch came to in a line."""
    population = epoch.test_acc_population
    return (
        f"loss {epoch.loss:.3f}  train acc {epoch.train_acc:.3f}  test acc {epoch.test_acc:.3f}"
        + (f" (population {population:.3f})" if population is not None else "")
    )


def engine_line(event: RunStarted) -> str:
    """Write which engine was chosen for a run, and why."""
    return f"engine: {event.engine} ({event.engine_chosen})"


class QuietScreen:
    """Shows nothing."""

    def show(self, event: object) -> None:
        """Pass."""


class LineScreen:
    """One plain line for each epoch and notice: for logs and pipes."""

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
                    self._line(engine_line(event))
            case EpochEnded():
                self._line(f"epoch {event.epoch}/{self._epochs}: {epoch_figures(event)}")
            case Notice():
                self._line(event.message)
            case Fetching() if event.source != self._source:
                self._source = event.source
                self._line(f"fetching Fashion-MNIST: {event.source}")

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


class LiveScreen:
    """Two bars on a terminal, the run's and the epoch's, with the latest figures."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
            # Drawn after each event, and by this thread alone: another one, drawing while the
            # number of bars changes, would wipe out lines above them.
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: RunStarted | None = None

    def show(self, event: object) -> None:
        """Bring the display up to date."""
        self._take(event)
        self.progress.refresh()

    def _take(self, event: object) -> None:
        match event:
            case Fetching():
                megabytes = f"{event.received / 1e6:.1f} of {event.expected / 1e6:.0f} MB"
                self._bar("fetching", f"fetching: {event.source}", megabytes)
                self._update("fetching", completed=event.received, total=event.expected)
            case Notice():
                self.progress.console.print(Text(event.message))
            case RunStarted():
                self._begin(event)
            case events.Progress():
                self._at(event.epoch, event.step)
                rate = event.examples_per_second
                speed = f"{rate:,.0f} examples/s" if rate else "warming up"
                figures = f"loss {event.loss:.3f}  train {event.accuracy:.3f}  {speed}"
                self._update("epoch", figures=figures)
            case EpochEnded():
                self._at(event.epoch + 1, 0)
                accuracies = f"train {event.train_acc:.3f}  test {event.test_acc:.3f}"
                figures = f"after {event.epoch}: loss {event.loss:.3f}  {accuracies}"
                self._update("run", figures=figures)

    def _begin(self, event: RunStarted) -> None:
        if "fetching" in self._tasks:
            self.progress.remove_task(self._tasks.pop("fetching"))
        self._started = event
        if event.engine_chosen:
            self.progress.console.print(Text(engine_line(event)))
        steps = event.epochs * event.steps_per_epoch
        self._bar("run", "", "", total=steps)
        self._bar("epoch", "", "", total=event.steps_per_epoch)
        self._at(len(event.finished) + 1, 0)

    def _at(self, epoch: int, step: int) -> None:
        """Set both bars to a step of an epoch."""
        assert self._started is not None
        if epoch > self._started.epochs:
            epoch, step = self._started.epochs, self._started.steps_per_epoch
        done = (epoch - 1) * self._started.steps_per_epoch + step
        self._update("run", completed=done, description=f"epoch {epoch}/{self._started.epochs}")
        batches = f"batch {step}/{self._started.steps_per_epoch}"
        self._update("epoch", completed=step, description=batches)

    def _bar(self, name: str, description: str, figures: str, **settings: Any) -> None:
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(description, figures=figures, **settings)
        self._update(name, description=description, figures=figures)

    def _update(self, name: str, **changes: Any) -> None:
        self.progress.update(self._tasks[name], **changes)


@contextlib.contextmanager
def _warnings_shown_on(screen: Screen) -> Iterator[None]:
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        screen.show(Notice(f"warning: {message}"))

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
