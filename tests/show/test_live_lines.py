"""Lines that are drawn again and again: what a terminal gets, to the last control code."""

import io
import sys

import pytest
from rich.console import Console
from rich.text import Text

from bnrun.show import live_lines
from bnrun.show.live_lines import SETTLE_SECONDS, LiveLines

ERASE, UP = "\x1b[2K", "\x1b[1A"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def _console(width: int) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=10, force_terminal=True, color_system=None
    )


def _new(console: Console) -> str:
    """What was written since the last call."""
    file = console.file
    assert isinstance(file, io.StringIO)
    text = file.getvalue()
    file.seek(0)
    file.truncate()
    return text


def _drawn(lines: str) -> str:
    """Lines that do not wrap, since the terminal may be narrower than is known yet."""
    return f"\x1b[?7l{lines}\x1b[?7h"


def test_lines_are_drawn_below_what_is_printed_and_leave_nothing() -> None:
    console = _console(40)
    with LiveLines(console) as lines:
        assert _new(console) == HIDE
        lines.draw([Text("one   "), Text("two")])
        assert _new(console) == _drawn("one\ntwo")
        lines.print(Text("above"))
        assert _new(console) == f"\r{ERASE}{UP}{ERASE}above\n" + _drawn("one\ntwo")
        sys.stdout.write("a layer prints\n")
        assert _new(console) == f"\r{ERASE}{UP}{ERASE}a layer prints\n" + _drawn("one\ntwo")
    assert _new(console) == f"\r{ERASE}{UP}{ERASE}{SHOW}"


def test_rows_that_a_narrower_terminal_has_wrapped_are_erased_too() -> None:
    console = _console(40)
    with LiveLines(console) as lines:
        lines.draw([Text("x" * 39), Text("y" * 20)])
        console.width = 20
        _new(console)
        lines.draw([Text("short")])  # 39 columns are two rows by now, 20 are one
        assert _new(console) == f"\r{ERASE}{UP}{ERASE}{UP}{ERASE}" + _drawn("short")


def test_lines_take_half_of_a_width_until_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(live_lines, "monotonic", lambda: now)
    console = _console(40)
    with LiveLines(console) as lines:
        lines.draw([Text("x" * 39)])
        console.width = 30
        _new(console)
        lines.draw([Text("y" * 29)])
        assert _new(console) == f"\r{ERASE}{UP}{ERASE}" + _drawn("y" * 15)
        now += SETTLE_SECONDS
        lines.draw([Text("y" * 29)])
        assert _new(console) == f"\r{ERASE}" + _drawn("y" * 29)


def test_more_lines_than_the_terminal_has_are_not_drawn() -> None:
    console = _console(40)
    with LiveLines(console) as lines:
        _new(console)
        lines.draw([Text(str(number)) for number in range(30)])
        assert _new(console) == _drawn("\n".join(str(number) for number in range(9)))
