"""The one table builder: the space between columns, and how a table fits its width."""

from pathlib import Path

import pytest
from rich.console import Console, RenderableType

import bnrun
from bnrun.show.folding import Indented, Paragraph
from bnrun.show.tables import Table, label, number, pairs, table, text


def _render(view: RenderableType, width: int = 80) -> str:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(view, crop=False)
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


def _norms(*, split: bool = False) -> Table:
    shown = table(label("the norm"), number("its size"), text("about"), gap=3, split=split)
    shown.add_row("first norm", "1.5", "as long as a whole sentence")
    shown.add_section("two")
    shown.add_row("  second norm of two", "10 to 20", "short")
    return shown


def test_first_the_gaps_shrink() -> None:
    assert _render(_norms(), width=59) == (
        "the norm              its size  about\n"
        "───────────────────────────────────────────────────────────\n"
        "first norm                 1.5  as long as a whole sentence\n"
        "\n"
        "two\n"
        "  second norm of two  10 to 20  short"
    )


def test_then_text_folds_between_words() -> None:
    assert _render(_norms(), width=58) == (
        "the norm              its size  about\n"
        "──────────────────────────────────────────────────\n"
        "first norm                 1.5  as long as a whole\n"
        "                                sentence\n"
        "\n"
        "two\n"
        "  second norm of two  10 to 20  short"
    )


def test_then_labels_fold_at_their_own_indentation() -> None:
    assert _render(_norms(), width=45) == (
        "the norm      its size about\n"
        "─────────────────────────────────────────\n"
        "first norm         1.5 as long as a whole\n"
        "                       sentence\n"
        "\n"
        "two\n"
        "  second norm 10 to 20 short\n"
        "  of two"
    )


def test_in_the_end_each_row_is_a_block_below_its_name() -> None:
    assert _render(_norms(), width=40) == (
        "first norm\n"
        "  its size: 1.5\n"
        "  about: as long as a whole sentence\n"
        "\n"
        "two\n"
        "  second norm of two\n"
        "    its size: 10 to 20  about: short"
    )


def test_or_the_last_columns_continue_in_a_table_below() -> None:
    assert _render(_norms(split=True), width=41) == (
        "the norm               its size\n"
        "───────────────────────────────\n"
        "first norm                  1.5\n"
        "\n"
        "two\n"
        "  second norm of two   10 to 20\n"
        "\n"
        "the norm             about\n"
        "───────────────────────────────────────\n"
        "first norm           as long as a whole\n"
        "                     sentence\n"
        "\n"
        "two\n"
        "  second norm of two short"
    )


def test_headings_fold_where_cells_are_short() -> None:
    shown = table(number("train acc"), number("test acc, moving"))
    shown.add_row("0.9010", "0.7993")
    assert _render(shown, width=20) == (
        "           test acc,\ntrain acc     moving\n────────────────────\n   0.9010     0.7993"
    )


def test_a_word_that_is_longer_than_a_line_stays_whole() -> None:
    name = "20261121T225147Z-lenet_bn-scratch-s0"
    shown = table(text("run"), number("loss"))
    shown.add_row(name, "0.2661")
    assert _render(shown, width=30) == f"{name}\n  loss: 0.2661"
    assert _render(Paragraph(f"kept in runs/{name} for now"), width=30) == (
        f"kept in\nruns/{name}\nfor now"
    )
    indented = Indented(Paragraph(f"kept in runs/{name} for now"), 4)
    assert _render(indented, width=30) == f"    kept in\n    runs/{name}\n    for now"


def test_a_part_of_a_table_leaves_out_rows_that_have_nothing_in_it() -> None:
    shown = table(number("channel"), number("gamma"), label("|gamma|"), split=True)
    shown.add_row("0", "0.9669", "#######")
    shown.add_section()
    shown.add_row("max", "1.1577")
    assert _render(shown, width=20) == (
        "channel   gamma\n"
        "───────────────\n"
        "      0  0.9669\n"
        "\n"
        "    max  1.1577\n"
        "\n"
        "channel  |gamma|\n"
        "────────────────\n"
        "      0  #######"
    )


def test_pairs_have_no_headings_and_no_markup() -> None:
    assert _render(pairs([("a", "[bold]x"), ("long", "y")])) == "a     [bold]x\nlong  y"


def test_no_table_is_built_with_rich_which_cuts_cells() -> None:
    files = Path(bnrun.__path__[0]).rglob("*.py")
    assert [path.name for path in files if "rich.table" in path.read_text()] == []
