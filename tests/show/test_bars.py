"""Rows of a live display: how they fit a width, and how long work will still take."""

import pytest

from bnrun.show.bars import Figure, Row, TimeLeft, duration, fit, shortened


def test_the_least_important_figure_gives_way_first_wherever_it_stands() -> None:
    row = Row("a", 0.5, [Figure("loss 0.4"), Figure("evaluating now", 2), Figure("00:01 left", 1)])
    assert [fit([row], width)[0].plain for width in (40, 30, 15)] == [
        "a  loss 0.4  evaluating now  00:01 left",
        "a  loss 0.4  00:01 left",
        "a  loss 0.4",
    ]


def test_a_figure_that_is_wider_than_the_terminal_is_cut_and_not_wrapped() -> None:
    assert fit([Row(figures=[Figure("a long sentence")])], 10)[0].plain == "a long s…"


def test_a_terminal_of_ascii_alone_has_another_bar() -> None:
    assert fit([Row("a", 0.5)], 80, ascii_only=True)[0].plain == "a  " + "#" * 12 + "-" * 12


def test_a_label_loses_its_middle() -> None:
    assert [shortened("a-long-name-s0", width) for width in (14, 9)] == [
        "a-long-name-s0",
        "a-lo…e-s0",
    ]


def test_time_left_goes_by_the_pace_since_the_first_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("bnrun.show.bars.monotonic", lambda: now)
    left = TimeLeft()
    assert str(left) == "--:-- left"
    left.count(10, 100)  # what came before, such as a run that continues, had no pace here
    assert str(left) == "--:-- left"
    now = 103.0
    left.count(40, 100)
    assert str(left) == "00:06 left"
    left.count(0, 100)  # something else begins
    assert str(left) == "--:-- left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "00:00"), (59.6, "01:00"), (3_599, "59:59"), (36_061, "10:01:01")]
)
def test_a_duration_has_one_notation(seconds: float, text: str) -> None:
    assert duration(seconds) == text
