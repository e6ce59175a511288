"""Texts of pictures: wrapped to their room, and moved apart where they would overlap."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnrun.show.plot_layout import fitted, fitted_name, size, spread
from bnrun.show.plot_style import style

HEIGHTS = st.lists(st.tuples(st.floats(-1, 5), st.floats(0.1, 0.8)), min_size=1, max_size=5)


@settings(max_examples=30)
@given(HEIGHTS)
def test_labels_do_not_overlap_and_stay_in_the_room(labels: list[tuple[float, float]]) -> None:
    wishes, heights = zip(*sorted(labels), strict=True)
    centres = spread(wishes, heights, 4.0)
    edges = [(c - h / 2, c + h / 2) for c, h in zip(centres, heights, strict=True)]
    assert all(below[1] <= above[0] + 1e-9 for below, above in itertools.pairwise(edges))
    assert edges[0][0] >= -1e-9
    assert edges[-1][1] <= 4 + 1e-9


def test_labels_move_only_where_they_overlap() -> None:
    assert spread([1, 3], [0.5, 0.5], 4) == pytest.approx([1, 3])
    assert spread([1, 1, 3], [0.5, 0.5, 0.5], 4) == pytest.approx([0.75, 1.25, 3])
    assert spread([0, 0, 4], [0.5, 0.5, 0.5], 4) == pytest.approx([0.25, 0.75, 3.75])


def test_names_break_after_a_colon_and_before_a_parenthesis() -> None:
    with style():
        assert fitted_name("mine.py:BatchNorm(eps=0.001)", 1.9) == (
            "mine.py:\nBatchNorm\n(eps=0.001)"
        )
        assert fitted_name("VeryLongBatchNormName", 1.9) == "VeryLongBatch\nNormName"
        assert fitted_name("scratch", 1.9) == "scratch"


@pytest.mark.parametrize("text", ["W" * 60, "a sentence of words " * 9, "ab\ncd"])
def test_a_text_is_wrapped_to_its_width(text: str) -> None:
    with style():
        wrapped = fitted(text, 2.0)
        assert size(wrapped)[0] <= 2.0
    assert "".join(wrapped.split()) == "".join(text.split())
