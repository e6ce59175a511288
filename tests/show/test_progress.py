"""A run while it works: live on a terminal, plain lines elsewhere, nothing when quiet."""

import io
import warnings

import pytest
from rich.console import Console

from bnrun.events import (
    DataUsed,
    EpochEnded,
    Fetching,
    Notice,
    Progress,
    RunEnded,
    RunStarted,
    Stage,
)
from bnrun.show.progress import LiveScreen, open_screen

DATA = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)
EVENTS = [
    Fetching("a mirror", 0, 30_900_000),
    Fetching("a mirror", 12_345_678, 30_900_000),
    Notice("Fashion-MNIST came from a mirror"),
    RunStarted("scratch", "cpu", "Some CPU", 0, 2, 16, DATA),
    Progress(1, 8, 1.2345, 0.5, None),
    EpochEnded(1, 1.0, 0.6, 0.7, None, 9_000.0, 9_500.0, 5.0),
    Progress(2, 4, 0.9, 0.65, 12_345.0),
    EpochEnded(2, 0.8, 0.75, 0.72, None, 9_000.0, 9_500.0, 5.0),
    RunEnded("completed", 9_000.0, 9_500.0),
]


def _console(*, terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), width=100, force_terminal=terminal, color_system=None, highlight=False
    )


def _written(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_off_a_terminal_there_is_a_line_for_each_epoch_and_notice() -> None:
    console = _console(terminal=False)
    with open_screen(console, quiet=False) as screen:
        for event in EVENTS:
            screen.show(event)
    assert _written(console) == (
        "fetching Fashion-MNIST: a mirror\n"
        "Fashion-MNIST came from a mirror\n"
        "epoch 1/2: loss 1.000  train acc 0.600  test acc 0.700\n"
        "epoch 2/2: loss 0.800  train acc 0.750  test acc 0.720\n"
    )


def test_quiet_shows_nothing() -> None:
    console = _console(terminal=True)
    with open_screen(console, quiet=True) as screen:
        for event in EVENTS:
            screen.show(event)
    assert _written(console) == ""


def test_on_a_terminal_the_bars_follow_the_run() -> None:
    live = LiveScreen(_console(terminal=True))
    seen = []
    for event in EVENTS:
        live.show(event)
        seen.append(
            [
                (t.description, t.completed, t.total, t.fields["figures"])
                for t in live.progress.tasks
            ]
        )
    assert seen[1] == [("fetching: a mirror", 12_345_678, 30_900_000, "12.3 of 31 MB")]
    assert seen[3] == [("epoch 1/2", 0, 32, ""), ("batch 0/16", 0, 16, "")]
    assert seen[4][1] == ("batch 8/16", 8, 16, "loss 1.234  train 0.500  warming up")
    figures = "after 1: loss 1.000  train 0.600  test 0.700"
    assert seen[5][0] == ("epoch 2/2", 16, 32, figures)
    assert seen[6][0][1] == 20
    assert seen[6][1] == ("batch 4/16", 4, 16, "loss 0.900  train 0.650  12,345 examples/s")
    assert seen[7][0][1:3] == (32, 32)


def test_a_stage_is_one_bar_on_a_terminal_and_nothing_elsewhere() -> None:
    live, console = LiveScreen(_console(terminal=True)), _console(terminal=False)
    with open_screen(console, quiet=False) as screen:
        for event in (Stage("timing scratch", 0, 4), Stage("timing builtin", 1, 4)):
            live.show(event)
            screen.show(event)
    (bar,) = live.progress.tasks
    assert (bar.completed, bar.total, bar.fields["figures"]) == (1, 4, "timing builtin")
    assert _written(console) == ""


def test_the_live_display_fits_into_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    live = LiveScreen(console)
    for event in (
        RunStarted("scratch", "cpu", "Some CPU", 0, 99, 235, DATA),
        Progress(98, 120, 0.9, 0.65, 112_345.0),
        EpochEnded(98, 1.0, 0.6, 0.7, None, 9_000.0, 9_500.0, 5.0),
        Progress(99, 234, 0.9, 0.65, 112_345.0),
    ):
        live.show(event)
    with console.capture() as capture:
        console.print(live.progress.get_renderable())
    run, epoch = capture.get().splitlines()
    assert run.startswith("epoch 99/99   ")
    assert "after 98: loss 1.000  train 0.600  test 0.700" in run
    assert "loss 0.900  train 0.650  112,345 examples/s" in epoch
    assert run.rstrip().endswith("left")


@pytest.mark.parametrize("finished", [0, 1])
def test_a_run_that_continues_starts_where_it_was(finished: int) -> None:
    live = LiveScreen(_console(terminal=True))
    epoch = EpochEnded(1, 1.0, 0.6, 0.7, None, None, None, 5.0)
    live.show(RunStarted("scratch", "cpu", "Some CPU", 0, 2, 16, DATA, (epoch,) * finished))
    assert live.progress.tasks[0].completed == 16 * finished


def test_warnings_become_lines_of_the_screen_for_the_time_being() -> None:
    console = _console(terminal=False)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with open_screen(console, quiet=False):
            warnings.warn("moving statistics are odd", stacklevel=1)
    assert _written(console) == "warning: moving statistics are odd\n"
    assert warnings.showwarning is before
