"""What a person sees of work while it runs: bars on a terminal, plain lines elsewhere.

Every command shows progress in the same way:

    with open_screen(stderr(), quiet=quiet) as screen:
        result = drain(work, screen.show)
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from bnrun import events
from bnrun.events import EpochEnded, Fetching, Notice, RunStarted, Stage


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
        if console.is_terminal:
            bars = (live or LiveScreen)(console)
            stack.enter_context(bars.progress)
            screen: Screen = bars
        else:
            screen = (lines or LineScreen)(console)
        stack.enter_context(_warnings_shown_on(screen))
        yield screen


def epoch_figures(epoch: EpochEnded) -> str:
    """Write the loss and the accuracies of an epoch on one line."""
    population = epoch.test_acc_population
    return (
        f"loss {epoch.loss:.3f}  train acc {epoch.train_acc:.3f}  test acc {epoch.test_acc:.3f}"
        + (f" (population {population:.3f})" if population is not None else "")
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
        self.console.print(Text(text), soft_wrap=True)


class LiveScreen:
    """Bars on a terminal: of a run and its epoch, of a stage, or of bytes that arrive."""

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
        self._bars: dict[str, TaskID] = {}
        self._run: RunStarted | None = None

    def show(self, event: object) -> None:
        """Bring the bars up to date, and draw them."""
        self.update(event)
        self.progress.refresh()

    def update(self, event: object) -> None:
        """Bring the bars up to date, without drawing them."""
        match event:
            case Stage():
                figures, total = event.name, event.total
                self.set_bar("stage", figures=figures, completed=event.done, total=total)
            case Fetching():
                self._show_bytes(event)
            case Notice():
                self.print(event.message)
            case RunStarted():
                self._start_run(event)
            case events.Progress():
                self._set_step(event.epoch, event.step)
                rate = event.examples_per_second
                speed = f"{rate:,.0f} examples/s" if rate else "warming up"
                figures = f"loss {event.loss:.3f}  train {event.accuracy:.3f}  {speed}"
                self.set_bar("epoch", figures=figures)
            case EpochEnded():
                self._set_step(event.epoch + 1, 0)
                accuracies = f"train {event.train_acc:.3f}  test {event.test_acc:.3f}"
                figures = f"after {event.epoch}: loss {event.loss:.3f}  {accuracies}"
                self.set_bar("run", figures=figures)

    def set_bar(self, name: str, **changes: Any) -> None:
        """Change a bar's `description`, `figures`, `completed` or `total`; a new one is added."""
        if name not in self._bars:
            self._bars[name] = self.progress.add_task("", figures="")
        self.progress.update(self._bars[name], **changes)

    def remove_bar(self, name: str) -> None:
        """Remove a bar, if it is there."""
        if name in self._bars:
            self.progress.remove_task(self._bars.pop(name))

    def print(self, text: str) -> None:
        """Print a line above the bars."""
        self.progress.console.print(Text(text))

    def _show_bytes(self, event: Fetching) -> None:
        self.set_bar(
            "fetching",
            description=f"fetching: {event.source}",
            figures=f"{event.received / 1e6:.1f} of {event.expected / 1e6:.0f} MB",
            completed=event.received,
            total=event.expected,
        )

    def _start_run(self, event: RunStarted) -> None:
        self.remove_bar("fetching")
        self._run = event
        if event.engine_chosen:
            self.print(_engine_line(event))
        self.set_bar("run", total=event.epochs * event.steps_per_epoch)
        self.set_bar("epoch", total=event.steps_per_epoch)
        self._set_step(len(event.finished) + 1, 0)

    def _set_step(self, epoch: int, step: int) -> None:
        """Set the bars of the run and of the epoch to a step."""
        run = self._run
        assert run is not None
        if epoch > run.epochs:
            epoch, step = run.epochs, run.steps_per_epoch
        completed = (epoch - 1) * run.steps_per_epoch + step
        self.set_bar("run", completed=completed, description=f"epoch {epoch}/{run.epochs}")
        batches = f"batch {step}/{run.steps_per_epoch}"
        self.set_bar("epoch", completed=step, description=batches)


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
