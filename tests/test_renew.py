"""The tool that renews the pages: what it keeps, what it takes anew, and what it refuses."""

import pytest
from renew import Example, examples, fit, generated, keys_table, settled, shape


def test_an_example_is_a_command_and_what_is_shown_below_it() -> None:
    page = "Text.\n\n```console\n$ bnrun guide\none\ntwo\n```\n\n```console\n$ bnrun runs\n```\n"
    assert [*examples(page)] == [Example("bnrun guide", "one\ntwo\n"), Example("bnrun runs", "")]


def test_without_an_elision_everything_that_is_printed_is_shown() -> None:
    assert fit("old\n", "new\nand more\n", settled) == "new\nand more\n"


def test_lines_left_out_stay_left_out_and_the_others_are_taken_anew() -> None:
    shown = "  1  0.70\n…\n 10  0.20\n"
    printed = "  1  0.75\n  2  0.50\n 10  0.25\n done\n"
    assert fit(shown, printed, shape) == "  1  0.75\n…\n 10  0.25\n"


def test_a_line_that_is_not_printed_any_more_is_an_error_and_not_dropped() -> None:
    with pytest.raises(LookupError, match="gone"):
        fit("first\n…\ngone\n", "first\nother\n", settled)


def test_rounding_errors_and_times_may_differ_between_machines_and_verdicts_may_not() -> None:
    assert settled("forward  pass  2e-16") == settled("forward   pass  0")
    assert settled("forward  pass  2e-16") != settled("forward  fail  2e-16")
    assert settled("done, in 2.4 s") == settled("done, in 10.1 s")


def test_measured_lines_may_differ_in_every_number_but_their_label() -> None:
    assert shape("9  0.27  44,368") == shape("9   0.31   9,034")
    assert shape("9  0.27  44,368") != shape("8  0.27  44,368")
    assert shape("43,544 examples/s on cpu") == shape("7,982 examples/s on cpu")
    assert shape("loss  -2e-06  scratch higher") != shape("loss  -2e-06  builtin higher")


def test_a_generated_table_replaces_what_stands_in_its_place() -> None:
    page = "above\n<!-- generated: keys -->\nstale\n<!-- end -->\nbelow\n"
    fresh = generated(page)
    assert keys_table() in fresh
    assert "stale" not in fresh
    assert (fresh.splitlines()[0], fresh.splitlines()[-1]) == ("above", "below")
    assert generated(fresh) == fresh
