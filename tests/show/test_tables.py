"""The one table builder: the space between columns, and what is wrapped, aligned or kept whole."""

from pathlib import Path

import pytest
from rich.console import Console, RenderableType

import bnrun.show
from bnrun.show.tables import label, number, pairs, table, text


def _render(view: RenderableType, width: int = 80) -> str:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_columns_stand_a_gap_apart(gap: int) -> None:
    shown = table(label("a"), number("b"), label("c"), gap=gap)
    shown.add_row("x", "1", "y")
    first, rule, row = _render(shown).splitlines()
    assert first == (" " * gap).join("abc")
    assert rule == "─" * (3 + 2 * gap)
    assert row == (" " * gap).join("x1y")


@pytest.mark.parametrize("margin", [1, 2])
def test_a_margin_is_left_of_the_table_and_an_empty_line_above_and_below(margin: int) -> None:
    shown = table(label("a"), label("b"), gap=3, margin=margin)
    shown.add_row("x", "y")
    above, first, _, row, below = _render(shown).split("\n")
    assert (above, below) == ("", "")
    assert (first, row) == (" " * margin + "a   b", " " * margin + "x   y")


def test_text_folds_and_labels_and_numbers_stay_whole() -> None:
    shown = table(label("name"), number("size"), text("about"))
    shown.add_row("first norm", "1.5", "as long as a sentence")
    assert _render(shown, width=26) == (
        "name        size  about\n"
        "──────────────────────────\n"
        "first norm   1.5  as long\n"
        "                  as a\n"
        "                  sentence"
    )


def test_pairs_have_no_headings_and_no_markup() -> None:
    assert _render(pairs([("a", "[bold]x"), ("long", "y")])) == "a     [bold]x\nlong  y"


def test_every_table_comes_from_this_builder() -> None:
    files = Path(bnrun.show.__file__).parent.glob("*.py")
    builders = {path.name for path in files if "box." in path.read_text()}
    assert builders == {"tables.py"}
