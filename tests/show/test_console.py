"""What the streams do with long lines: a terminal folds them, a file holds them in one piece."""

import io

import pytest
from rich.console import Console

from bnrun.show import console
from bnrun.show.folding import Paragraph

MESSAGE = "there is no run below /home/you/a/long/way/to/the/runs: `bnrun train` makes one."


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> io.StringIO:
    """Return what both streams print to: of 30 columns, and a terminal where a test says so."""
    file, terminal = io.StringIO(), getattr(request, "param", False)
    stream = Console(file=file, width=30, force_terminal=terminal, color_system=None)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(console, name, lambda: stream)
    return file


@pytest.mark.parametrize("printed", [True], indirect=True, ids=["terminal"])
def test_a_terminal_folds_an_error_between_words(printed: io.StringIO) -> None:
    console.show_error(MESSAGE)
    assert printed.getvalue() == (
        "error: there is no run below\n"
        "/home/you/a/long/way/to/the/runs:\n"
        "`bnrun train` makes one.\n"
    )


CONTINUE = "interrupted: 1 of 2 epochs is kept; continue with:"
COMMAND = "bnrun train --resume /home/you/runs/mine"


@pytest.mark.parametrize("printed", [True], indirect=True, ids=["terminal"])
def test_a_terminal_has_a_command_to_copy_on_one_line(printed: io.StringIO) -> None:
    console.show_notice(f"{CONTINUE}\n{COMMAND}")
    assert printed.getvalue() == (
        f"interrupted: 1 of 2 epochs is\nkept; continue with:\n{COMMAND}\n"
    )


def test_a_file_has_a_command_on_the_line_of_its_sentence(printed: io.StringIO) -> None:
    console.show_notice(f"{CONTINUE}\n{COMMAND}")
    assert printed.getvalue() == f"{CONTINUE} {COMMAND}\n"


def test_a_file_has_an_error_and_a_line_of_a_result_in_one_piece(printed: io.StringIO) -> None:
    console.show_error(MESSAGE)
    console.show_line(MESSAGE)
    assert printed.getvalue() == f"error: {MESSAGE}\n{MESSAGE}\n"


def test_a_view_holds_a_path_in_one_piece(printed: io.StringIO) -> None:
    console.show_view(Paragraph(MESSAGE))
    assert "\n/home/you/a/long/way/to/the/runs:\n" in printed.getvalue()
