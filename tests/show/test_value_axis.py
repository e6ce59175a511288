"""The axis of a picture holds its values, and a huge loss does not flatten the others."""

import pytest

from bnrun.show.value_axis import Scale, loss_note, scale_of


def test_an_axis_holds_all_values_and_does_not_magnify_noise() -> None:
    scale = scale_of("test_acc", [0.1, 0.9])
    assert (scale.low, scale.high) == pytest.approx((0.06, 0.94))
    still = scale_of("test_acc", [0.5, 0.5001])
    assert still.high - still.low == pytest.approx(0.02)


def test_a_loss_far_above_guessing_is_left_out_where_others_are_not() -> None:
    assert scale_of("loss", [0.5, 2.3, 1e30]).high < 2.5
    assert scale_of("loss", [5.0, 7.0]).high > 7
    assert scale_of("train_acc", [0.5]).high < 1


def test_losses_that_are_all_huge_have_a_logarithmic_axis() -> None:
    wide = scale_of("loss", [20.0, 3e30])
    assert wide.is_log
    assert (wide.low, wide.high) == pytest.approx((10, 1e31))
    same = scale_of("loss", [1e30])
    assert same.low < 1e30 < same.high


def test_what_an_axis_leaves_out_is_named() -> None:
    highest = {"a": 1.0, "b": 7.25, "c": 2e30}
    note = loss_note(Scale(0, 2), highest)
    assert note == "The axis of the loss ends at 2: b reaches 7.2, c reaches 2e+30."
    assert loss_note(Scale(0, 1), {"a": 1.0}) == ""
    assert loss_note(Scale(1, 10, is_log=True), highest) == "The axis of the loss is logarithmic."
