"""What a person sees of a comparison while it works: a line or a bar for each trial."""

import math
from collections.abc import Sequence

from rich.console import Console

from bnrun.comparison.comparison_events import (
    CompareStarted,
    ThroughputFailed,
    Trial,
    TrialEnded,
    TrialEvent,
)
from bnrun.comparison.parity_verdict import Parity
from bnrun.events import Activity, EpochEnded, Fetching, Notice, Progress, RunStarted, Stage
from bnrun.show.bars import Figure, Row, TimeLeft, counted, figures_of
from bnrun.show.progress import LineScreen, LiveScreen, activity_row, epoch_figures, figure


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
    """Rows on a terminal: all trials, and one for each that is trained at the same time.

    A trial takes the first row whose trial has ended, so that no other row moves.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._trials: Sequence[Trial] = ()
        self._epochs = 0  # of all trials, counted once: there may be thousands
        self._ended: dict[str, int] = {}  # trials, with the epochs of each
        self._slots: list[_TrialRow] = []
        self._time_left = TimeLeft()

    def update(self, event: object) -> None:
        """Bring the rows up to date, without drawing them."""
        match event:
            case CompareStarted():
                self._trials = event.trials
                self._epochs = sum(trial.config.training.epochs for trial in event.trials)
                self.activity = ""
                if event.engine_reason:
                    self.print(_engine_line(event))
            case Stage():
                self._slots = []
                super().update(event)
            case TrialEvent():
                self._show_trial(event)
            case TrialEnded():
                self._ended[event.trial.name] = event.trial.config.training.epochs
                self._slot(event.trial).ended = True
                self._count_epochs()
                self.print(f"{len(self._ended)}/{len(self._trials)} {_result(event)}")
            case _:
                super().update(event)

    def rows(self) -> list[Row]:
        """Return the rows, from top to bottom."""
        left = str(self._time_left) if self._slots else None  # nothing is trained meanwhile
        rows = [self._trials_row(left)] if self._trials else []
        if self._slots:
            return [*rows, *(slot.row() for slot in self._slots)]
        return [*rows, *super().rows()]

    def stage_rows(self, stage: Stage) -> list[Row]:
        """Return the rows of a measurement: its time left is not that of the comparison."""
        label = f"{stage.name} {counted(stage.done, stage.total)}"
        row = Row(label, stage.done / stage.total, figures_of(str(self.left)))
        return [row, activity_row(self.activity or f"measuring {stage.name}")]

    def _trials_row(self, left: str | None) -> Row:
        label = f"{counted(len(self._ended), len(self._trials))} trials"
        return Row(label, self._epochs_done() / self._epochs, figures_of(left))

    def _show_trial(self, event: TrialEvent) -> None:
        if isinstance(event.event, Notice):
            self.print(f"{event.trial.name}: {event.event.message}")
            return
        self._slot(event.trial).update(event.event)
        if isinstance(event.event, Progress | EpochEnded):  # the pace does not count starting
            self._count_epochs()

    def _slot(self, trial: Trial) -> "_TrialRow":
        """Return a trial's row: its own, else the first that is free, else a new one."""
        for slot in self._slots:
            if slot.trial == trial:
                return slot
        row = _TrialRow(trial)
        free = (number for number, slot in enumerate(self._slots) if slot.ended)
        number = next(free, len(self._slots))
        self._slots[number : number + 1] = [row]
        return row

    def _epochs_done(self) -> float:
        at_work = sum(slot.epochs_done for slot in self._slots if not slot.ended)
        return at_work + sum(self._ended.values())

    def _count_epochs(self) -> None:
        self._time_left.count(self._epochs_done(), self._epochs)


class _TrialRow:
    """The row of one trial."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.ended = False
        self.epochs_done = 0.0
        self._epochs = trial.config.training.epochs
        self._steps = 1  # in an epoch
        self._epoch = 1
        self._loss = self._accuracy = math.nan
        self._activity = ""

    def update(self, event: object) -> None:
        """Move to where the trial is."""
        self._activity = ""
        match event:
            case Activity():
                self._activity = event.name
            case RunStarted():
                self._steps, self._activity = event.steps_per_epoch, "first steps"
                self._set_step(len(event.finished) + 1, 0)
            case Progress():
                self._set_step(event.epoch, event.step)
                self._loss, self._accuracy = event.loss, event.accuracy
            case EpochEnded():
                self._set_step(event.epoch, self._steps)
                self._loss, self._accuracy = event.loss, event.train_acc

    def row(self) -> Row:
        """Return the row: beside the loss, what is going on is the most important."""
        doing = "ended" if self.ended else self._activity
        texts = (
            (figure("loss", self._loss), 0),
            (f"epoch {counted(min(self._epoch, self._epochs), self._epochs)}", 2 if doing else 1),
            (doing or figure("train", self._accuracy), 1 if doing else 2),
        )
        figures = [Figure(text, rank) for text, rank in texts if text is not None]
        share = 1.0 if self.ended else self.epochs_done / self._epochs
        return Row(self.trial.name, share, figures, is_name=True)

    def _set_step(self, epoch: int, step: int) -> None:
        self._epoch = epoch
        self.epochs_done = epoch - 1 + step / self._steps


def _engine_line(event: CompareStarted) -> str:
    return f"engine of all trials: {event.engine} ({event.engine_reason})"


def _result(event: TrialEnded) -> str:
    summary, name = event.summary, event.trial.name
    if summary.status != "completed":
        return f"{name}: {summary.status}: {summary.reason}"
    mark = f": {summary.shortcoming}" if summary.shortcoming else ""
    return f"{name}: {epoch_figures(summary.epochs[-1])}{mark}"
