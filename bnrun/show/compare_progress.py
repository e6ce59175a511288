"""What a person sees of a comparison while it works: a line or a bar for each trial."""

from rich.console import Console

from bnrun import events
from bnrun.comparison.comparison_events import (
    CompareStarted,
    ThroughputFailed,
    TrialEnded,
    TrialEvent,
)
from bnrun.comparison.parity_verdict import Parity
from bnrun.events import EpochEnded, Fetching, Notice, RunStarted, Stage
from bnrun.show.progress import LineScreen, LiveScreen, epoch_figures


class CompareLines(LineScreen):
    """A plain line for each trial that ended, each measurement and each notice."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._trials = 0
        self._ended = 0
        self._stage = ""

    def show(self, event: object) -> None:
        """Write the event's line, if it has one."""
        match event:
            case Stage():
                self._show_stage(event)
            case Parity():
                self.write(event.sentence)
            case CompareStarted() | TrialEvent() | TrialEnded():
                self._show_trial(event)
            case ThroughputFailed():
                self.write(f"throughput was not measured: {event.reason}")
            case Notice() | Fetching():
                super().show(event)

    def _show_stage(self, event: Stage) -> None:
        if event.name != self._stage:
            self._stage = event.name
            self.write(f"measuring {event.name}")

    def _show_trial(self, event: CompareStarted | TrialEvent | TrialEnded) -> None:
        match event:
            case CompareStarted():
                self._trials = len(event.trials)
                if event.engine_reason:
                    self.write(_engine_line(event))
            case TrialEvent(event=Notice(message=message)):
                self.write(f"{event.trial.name}: {message}")
            case TrialEnded():
                self._ended += 1
                self.write(f"{self._ended}/{self._trials} {_result(event)}")


class CompareBars(LiveScreen):
    """Bars on a terminal: all trials, and one for each that is being trained."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._ended = 0
        self._done: dict[str, float] = {}  # epochs that each trial has done
        self._epochs = 0  # epochs of all trials together
        self._steps: dict[str, int] = {}  # steps in an epoch of each trial

    def update(self, event: object) -> None:
        """Bring the bars up to date, without drawing them."""
        match event:
            case CompareStarted():
                self.remove_bar("fetching")
                self._done = {trial.name: 0.0 for trial in event.trials}
                self._epochs = sum(trial.config.training.epochs for trial in event.trials)
                if event.engine_reason:
                    self.print(_engine_line(event))
            case Stage():
                name = f"measuring {event.name}"
                self.set_bar("stage", description=name, completed=event.done, total=event.total)
            case Parity():
                self.print(event.sentence)
            case TrialEvent():
                self.remove_bar("stage")
                self._show_trial(event)
            case TrialEnded():
                self._ended += 1
                self.remove_bar(event.trial.name)
                self._done[event.trial.name] = event.trial.config.training.epochs
                self._count()
                self.print(f"{self._ended}/{len(self._done)} {_result(event)}")
            case _:
                super().update(event)

    def _count(self) -> None:
        """Set the bar of all trials, which counts their epochs."""
        if self._ended == len(self._done):
            self.remove_bar("all")
            return
        trial = f"trial {self._ended + 1}/{len(self._done)}"
        completed = sum(self._done.values())
        self.set_bar("all", description=trial, completed=completed, total=self._epochs)

    def _show_trial(self, event: TrialEvent) -> None:
        """Set a trial's own bar to where the trial is."""
        name, inner = event.trial.name, event.event
        match inner:
            case RunStarted():
                self._steps[name] = inner.steps_per_epoch
                self.set_bar(name, figures="", total=inner.epochs * inner.steps_per_epoch)
                self._set_trial_step(event, len(inner.finished) + 1, 0)
            case events.Progress():
                self._set_trial_step(event, inner.epoch, inner.step)
                figures = f"loss {inner.loss:.3f}  train {inner.accuracy:.3f}"
                self.set_bar(name, figures=figures)
            case EpochEnded():
                self._set_trial_step(event, inner.epoch, self._steps[name])
            case Notice():
                self.print(f"{name}: {inner.message}")

    def _set_trial_step(self, event: TrialEvent, epoch: int, step: int) -> None:
        name, epochs = event.trial.name, event.trial.config.training.epochs
        self._done[name] = epoch - 1 + step / self._steps[name]
        self._count()
        self.set_bar(
            name,
            completed=(epoch - 1) * self._steps[name] + step,
            description=f"{name} epoch {epoch}/{epochs}",
        )


def _engine_line(event: CompareStarted) -> str:
    return f"engine of all trials: {event.engine} ({event.engine_reason})"


def _result(event: TrialEnded) -> str:
    summary, name = event.summary, event.trial.name
    if summary.status != "completed":
        return f"{name}: {summary.status}: {summary.reason}"
    mark = ": did not learn" if summary.learned is False else ""
    return f"{name}: {epoch_figures(summary.epochs[-1])}{mark}"
