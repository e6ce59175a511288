"""Where an encoding lacks a character, another is written for it, and nothing fails."""

import io
from pathlib import Path

import pytest

from bnrun.show.plain_text import spell_out

HOUSE = Path(__file__).parents[2] / "bnrun"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "γ 0.5 ± 0.1 … é─"),
        ("latin-1", "gamma 0.5 ± 0.1 ... é-"),
        ("ascii", r"gamma 0.5 +- 0.1 ... \xe9-"),
    ],
)
def test_a_character_that_is_missing_is_spelled(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    spell_out(stream)
    stream.write("γ 0.5 ± 0.1 … é─")
    stream.flush()
    assert raw.getvalue().decode(encoding) == written


def test_a_table_stays_in_line() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    spell_out(stream)
    stream.write("x ± y      1  2\nx        ± 1  2\nγ  β       1  2\nxyz        1  2\n")
    stream.flush()
    assert raw.getvalue().decode() == (
        "x +- y     1  2\nx        +- 1 2\ngamma beta 1  2\nxyz        1  2\n"
    )


def test_a_stream_that_takes_any_text_is_left_as_it_is() -> None:
    stream = io.StringIO()
    spell_out(stream)
    stream.write("γ")
    assert stream.getvalue() == "γ"


def test_no_page_of_the_guide_needs_a_character_that_is_not_spelled() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    spell_out(stream)
    for page in sorted((HOUSE / "guide").glob("*.md")):
        stream.write(page.read_text(encoding="utf-8"))
    stream.flush()
    assert b"\\u" not in raw.getvalue()
    assert b"\\x" not in raw.getvalue()
