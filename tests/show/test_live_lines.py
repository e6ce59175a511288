"""Lines that are drawn again and again: what a terminal gets, to the last control code."""

import io
import sys

from rich.console import Console
from rich.text import Text

from bnrun.show.live_lines import LiveLines

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


def test_lines_are_drawn_below_what_is_printed_and_leave_nothing() -> None:
    console = _console(40)
    with LiveLines(console) as lines:
        assert _new(console) == HIDE
        lines.draw([Text("one   "), Text("two")])
        assert _new(console) == "one\ntwo"
        lines.print(Text("above"))
        assert _new(console) == f"\r{ERASE}{UP}{ERASE}above\none\ntwo"
        sys.stdout.write("a layer prints\n")
        assert _new(console) == f"\r{ERASE}{UP}{ERASE}a layer prints\none\ntwo"
    assert _new(console) == f"\r{ERASE}{UP}{ERASE}{SHOW}"


def test_rows_that_a_narrower_terminal_has_wrapped_are_erased_too() -> None:
    console = _console(40)
    with LiveLines(console) as lines:
        lines.draw([Text("x" * 39), Text("y" * 20)])
        console.width = 20
        _new(console)
        lines.draw([Text("short")])  # 39 columns are two rows by now, 20 are one
        assert _new(console) == f"\r{ERASE}{UP}{ERASE}{UP}{ERASE}short"


def test_more_lines_than_the_terminal_has_are_not_drawn() -> None:
    console = _console(40)
    with LiveLines(console) as lines:
        _new(console)
        lines.draw([Text(str(number)) for number in range(30)])
        assert _new(console).split("\n") == [str(number) for number in range(9)]
