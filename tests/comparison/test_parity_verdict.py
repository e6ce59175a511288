"""What parity's measurements say: whether two arms are the same function, in words."""

from dataclasses import replace

import pytest

from bnrun.comparison.parity_verdict import Agreement, Parity, parity_document

EXACT = Agreement(("eager", "eager"), "float64", 30, 9.2e-13, 7.1e-13, 4.1e-12, 5.2e-12)
TRAINED = Agreement(
    ("compiled", "compiled"), "float32", 30, 1.2e-7, 6.0e-8, 1.8e-7, 9.5e-7, per_step=True
)
PARITY = Parity("scratch", "builtin", EXACT, TRAINED)


def _parity(exact: Agreement = EXACT, trained: Agreement | None = TRAINED) -> Parity:
    return Parity("scratch", "builtin", exact, trained)


def test_the_same_function_in_both_measurements() -> None:
    assert PARITY.verdict == "same function"
    assert PARITY.sentence == (
        "Parity: scratch and builtin are the same function, to rounding: they agree to 5e-12 over "
        "30 steps, eager, float64; to 1e-06 a step, compiled, float32."
    )


def test_code_that_trains_and_computes_something_else_is_not_called_the_same() -> None:
    found = _parity(trained=replace(TRAINED, loss=3e-2, weight=4e-3))
    assert found.verdict == "same function in float64 only"
    assert found.sentence == (
        "Parity: scratch and builtin agree to 5e-12 over 30 steps, eager, float64. But what the "
        "trials run, compiled, float32, is not the same function: it differs by up to 0.03 in "
        "loss, 0.004 in weights a step, more than rounding."
    )


def test_other_formulas_are_other_functions() -> None:
    found = _parity(replace(EXACT, loss=0.1, weight=0.2, moving=None))
    assert found.verdict == "different functions"
    assert found.sentence == (
        "Parity: scratch and builtin are not the same function: they differ by up to 0.1 in "
        "loss, 0.2 in weights, 5e-12 in logits over 30 steps, eager, float64."
    )


def test_no_difference_at_all_is_no_number() -> None:
    same = replace(EXACT, loss=0.0, weight=0.0, moving=0.0, prediction=0.0)
    assert (
        "they agree to the last bit over 30 steps, eager, float64; to 1e-06 a"
        in _parity(same).sentence
    )
    apart = _parity(replace(same, prediction=12.34)).sentence
    assert apart.endswith("But they do not predict alike: they differ by up to 12 in logits.")


def test_arms_that_train_alike_may_predict_differently() -> None:
    """The textbook's moving variance is biased; that float32 shows it, too, is no fault of code."""
    found = _parity(replace(EXACT, moving=4e-3, prediction=2e-2), replace(TRAINED, moving=1e-3))
    assert found.verdict == "same function in training only"
    assert found.sentence == (
        "Parity: scratch and builtin train as the same function, to rounding: they agree to 9e-13 "
        "over 30 steps, eager, float64; to 1e-07 a step, compiled, float32. But they do not "
        "predict alike: they differ by up to 0.004 in moving statistics, 0.02 in logits."
    )


def test_arms_on_different_engines_say_which() -> None:
    found = _parity(trained=replace(TRAINED, engines=("compiled", "eager")))
    assert found.sentence.endswith("a step, scratch compiled and builtin eager, float32.")


def test_an_older_measurement_speaks_of_what_ran_alone() -> None:
    found = _parity(trained=None)
    assert found.verdict == "same function"
    assert found.sentence.endswith("they agree to 5e-12 over 30 steps, eager, float64.")


def test_what_ended_a_measurement_is_said() -> None:
    found = _parity(replace(EXACT, prediction=None, error="arm builtin, predicting: ValueError"))
    assert found.verdict == "same function in training only"
    assert found.sentence.endswith("compiled, float32. Then arm builtin, predicting: ValueError.")
    found = _parity(trained=replace(TRAINED, prediction=None, error="the loss became nan"))
    assert found.sentence.endswith(" As they train, compiled, float32: the loss became nan.")
    nothing = Agreement(
        ("eager", "eager"), "float64", 0, None, None, None, None, error="step 1: no"
    )
    assert _parity(nothing, None).verdict == "not compared"
    assert _parity(nothing, None).sentence == (
        "Parity: scratch and builtin can't be compared: step 1: no"
    )


@pytest.mark.parametrize("kind", ["loss", "weight", "moving", "prediction"])
def test_each_kind_of_difference_counts_in_each_measurement(kind: str) -> None:
    assert _parity(replace(EXACT, **{kind: 1e-7})).verdict != "same function"
    assert _parity(trained=replace(TRAINED, **{kind: 1e-4})).verdict != "same function"


def test_tf32_is_said_and_rounds_more() -> None:
    found = _parity(trained=replace(TRAINED, loss=1e-4, tf32=True))
    assert found.verdict == "same function"
    assert found.sentence.endswith("compiled, float32 with TF32.")


def test_the_document_has_the_largest_differences_over_the_arms() -> None:
    other = Parity("scratch", "other", replace(EXACT, loss=1e-3), replace(TRAINED, weight=1e-3))
    document = parity_document([PARITY, other])
    assert document is not None
    assert (document["dtype"], document["steps"], document["max_loss_difference"]) == (
        "float64", 30, 1e-3,
    )  # fmt: skip
    assert document["as_trained"]["median_weight_difference"] == 1e-3
    assert document["as_trained"]["dtype"] == "float32"
    assert [Parity.from_dict(arm) for arm in document["arms"]] == [PARITY, other]
    assert parity_document([]) is None
