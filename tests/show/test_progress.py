"""A run while it works: live on a terminal, plain lines elsewhere, nothing when quiet."""

import io
import warnings
from dataclasses import replace

import pytest
from rich.console import Console

from bnrun.events import (
    Activity,
    DataUsed,
    EpochEnded,
    Fetching,
    Notice,
    Progress,
    RunEnded,
    RunStarted,
    Stage,
)
from bnrun.show.bars import fit
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


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass: a display then knows no time left."""
    monkeypatch.setattr("bnrun.show.bars.monotonic", lambda: 0.0)


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


def _live(width: int) -> LiveScreen:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    return LiveScreen(console)


def _shown(live: LiveScreen) -> list[str]:
    """The rows of a live display, as its terminal has them."""
    rows = [line.plain for line in fit(live.rows(), live.console.width)]
    assert all(len(row) < live.console.width for row in rows)
    return rows


def _after(width: int, *events: object) -> list[str]:
    live = _live(width)
    for event in events:
        live.update(event)
    return _shown(live)


STARTED = RunStarted("scratch", "cpu", "Some CPU", 0, 10, 235, DATA)
ENDED = EpochEnded(1, 0.602, 0.701, 0.812, None, 9_000.0, 9_500.0, 5.0, 0.823)
AT_WORK = (STARTED, ENDED, Progress(2, 117, 0.401, 0.832, 112_345.0))


@pytest.mark.parametrize(
    ("width", "rows"),
    [
        (
            36,
            [
                "epoch  2/10  loss 0.401  --:-- left",
                "batch 117/235  112,345 examples/s",
                "after 1  loss 0.602  test 0.812",
            ],
        ),
        (
            40,
            [
                "epoch  2/10    loss 0.401  --:-- left",
                "batch 117/235  112,345 examples/s",
                "after 1        loss 0.602  test 0.812",
            ],
        ),
        (
            50,
            [
                "epoch  2/10    loss 0.401  --:-- left",
                "batch 117/235  112,345 examples/s",
                "after 1  loss 0.602  test 0.812  train 0.701",
            ],
        ),
        (
            80,
            [
                "epoch  2/10    ━━━───────────────────  loss 0.401  --:-- left  train 0.832",
                "batch 117/235  ━━━━━━━━━━━───────────  112,345 examples/s",
                "after 1  loss 0.602  test 0.812  train 0.701  population 0.823",
            ],
        ),
    ],
)
def test_loss_and_time_left_stay_where_the_bar_and_other_figures_give_way(
    width: int, rows: list[str]
) -> None:
    assert _after(width, *AT_WORK) == rows


def test_a_wide_terminal_has_the_rows_of_80_columns() -> None:
    """A terminal that becomes narrower wraps what is wider."""
    assert _after(120, *AT_WORK) == _after(80, *AT_WORK)


def test_a_huge_loss_takes_no_time_left_away() -> None:
    first, *_ = _after(40, STARTED, Progress(2, 117, 9.18656e30, 0.1, 112_345.0))
    assert first == "epoch  2/10  loss 9.19e+30  --:-- left"


@pytest.mark.parametrize("width", [40, 80])
def test_rows_keep_their_places(width: int) -> None:
    live = _live(width)
    for event in (
        *AT_WORK,
        Activity("evaluating"),
        replace(ENDED, epoch=2),
        Progress(3, 1, 9, 0, 9),
    ):
        live.update(event)
        assert [row.split()[0] for row in _shown(live)][:2] == ["epoch", "batch"]
    assert len(_shown(live)) == 3


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_display_that_does_not_move_says_what_it_waits_for(width: int) -> None:
    live = _live(width)
    seen = []
    for event in (
        Activity("loading torch"),
        Fetching("a mirror", 30_900_000, 30_900_000),
        Activity("unpacking and verifying the files"),
        STARTED,
        Progress(1, 235, 1.2345, 0.5, 9_000.0),
        Activity("evaluating"),
        Activity("checkpoint"),
        ENDED,
    ):
        live.update(event)
        seen.append(_shown(live))
    assert seen[0] == ["loading torch"]
    assert [row.strip() for row in seen[1]][1:] == ["fetching: a mirror"]
    assert seen[2] == ["unpacking and verifying the files"]  # the bytes have arrived
    assert [rows[1].split("  ")[-1] for rows in seen[3:]] == [
        "first steps", "9,000 examples/s", "evaluating", "checkpoint", "9,000 examples/s",
    ]  # fmt: skip


def test_a_process_warms_up_once() -> None:
    live = _live(80)
    seen = []
    for event in (
        STARTED,
        Progress(1, 3, 2.3, 0.1, None),
        Progress(1, 235, 0.6, 0.7, 9_000.0),
        replace(ENDED, examples_per_second=None),
        Progress(2, 1, 0.4, 0.8, None),
    ):
        live.update(event)
        seen.append(_shown(live)[1].split("  ")[-1])
    rate = "9,000 examples/s"
    assert seen == ["first steps", "warming up", rate, rate, rate]


@pytest.mark.parametrize(
    ("width", "first"),
    [
        (40, " 7.7 of 31 MB  --:-- left"),
        (80, " 7.7 of 31 MB  ━━━━━─────────────────  --:-- left"),
    ],
)
def test_bytes_that_arrive_are_counted(width: int, first: str) -> None:
    rows = _after(width, Fetching("a mirror", 7_700_000, 30_900_000))
    assert rows == [first, "fetching: a mirror"]


def test_a_stage_has_a_bar_on_a_terminal_and_nothing_elsewhere() -> None:
    console = _console(terminal=False)
    with open_screen(console, quiet=False) as screen:
        screen.show(Stage("timing scratch", 0, 14))
    assert _written(console) == ""
    stage = Stage("InstanceNorm2d, bfloat16, compiled", 7, 14)
    assert _after(40, stage) == [" 7/14  --:-- left", "InstanceNorm2d, bfloat16, compiled"]
    assert _after(80, stage) == [
        " 7/14  ━━━━━━━━━━━━────────────  --:-- left",
        "InstanceNorm2d, bfloat16, compiled",
    ]
    assert _after(80, stage, Activity("starting a process"))[1] == "starting a process"


@pytest.mark.parametrize("finished", [0, 1])
def test_a_run_that_continues_starts_where_it_was(finished: int) -> None:
    rows = _after(40, replace(STARTED, finished=(ENDED,) * finished))
    assert rows[0] == f"epoch  {finished + 1}/10    --:-- left"
    assert len(rows) == 2 + finished


def test_a_run_that_is_complete_has_no_bar() -> None:
    assert _after(80, replace(STARTED, epochs=1, finished=(ENDED,))) == []


def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = _console(terminal=True)
    with open_screen(console, quiet=False) as screen:
        screen.show(Activity("loading torch"))
        screen.show(Notice("mind this"))
    assert _written(console) == "mind this\n"


def test_warnings_become_lines_of_the_screen_for_the_time_being() -> None:
    console = _console(terminal=False)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with open_screen(console, quiet=False):
            warnings.warn("moving statistics are odd", stacklevel=1)
    assert _written(console) == "warning: moving statistics are odd\n"
    assert warnings.showwarning is before
