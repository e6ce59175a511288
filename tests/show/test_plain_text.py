"""Where an encoding lacks a character, another is written for it, and nothing fails."""

import io
from pathlib import Path

import pytest

from bnrun.show.plain_text import SPELLED, spell_out

HOUSE = Path(__file__).parents[2] / "bnrun"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "γ 0.5 ± 0.1 … ü─"),
        ("latin-1", "gamma 0.5 ± 0.1 ... ü-"),
        ("ascii", r"gamma 0.5 +- 0.1 ... \xfc-"),
    ],
)
def test_a_character_that_is_missing_is_spelled(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    spell_out(stream)
    stream.write("γ 0.5 ± 0.1 … ü─")
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


def test_every_character_that_the_program_and_its_manual_write_is_spelled() -> None:
    texts = [file.read_text("utf-8") for kind in ("py", "md") for file in HOUSE.rglob(f"*.{kind}")]
    of_names = {"é"}  # as in Poincaré: a file of such a name must be found again
    others = {one for one in set("".join(texts)) if not one.isascii()} - of_names
    assert others <= set(SPELLED)
