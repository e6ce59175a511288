"""Judging what a norm does with its input: outputs, gradients, and what it leaves unchanged."""

import math
from collections.abc import Sequence

import torch

from bnrun.verification.evidence import distance
from bnrun.verification.judge.outcome import (
    GRADIENTS,
    MOVING,
    OUTPUT,
    Case,
    Outcome,
    failed,
    only,
    passed,
    playing,
    skipped,
    worst,
)
from bnrun.verification.known import behaviour
from bnrun.verification.known.fault import Fault
from bnrun.verification.observe.experiment import Values
from bnrun.verification.recipe import Recipe, deviations, play
from bnrun.verification.situations import (
    faint,
    far,
    level,
    plain,
    situation,
)

# Times the usual tolerance, where any formula loses some digits:
FAR_SLACK = 1e3  # those of the mean
LEVEL_SLACK = 1e2  # rounding of the mean, divided by sqrt(eps)
HALVES = (torch.float16, torch.bfloat16)
TOO_FEW_DIGITS = "too few digits in this dtype"


def forward(case: Case, rank: int, training: bool) -> Outcome:
    """Judge the output, after train() with gradients enabled, or after eval() without."""
    part = "training" if training else "predicting"
    values = case.values(f"{part} {rank}")
    made = case.evidence.situation(plain, rank)
    return case.compare(rank, only(values, *OUTPUT), playing(made, training=training))


def gradients(case: Case, rank: int, training: bool) -> Outcome:
    """Judge all gradients of one backward pass."""
    part = "training" if training else "predicting"
    values = case.values(f"{part} {rank}")
    seen: Values = values if training else values["with_gradients"]
    if not seen["connected"]:
        return failed(behaviour.OUTPUT_DETACHED)
    made = case.evidence.situation(plain, rank)
    outcome = case.compare(
        rank,
        only(seen, *GRADIENTS),
        lambda recipe: play(recipe, made, training=training, grad=True),
    )
    if outcome.unexplained and not _backward_is_wrong(case, rank, part):
        note = "as its own output has it: the gradients follow from the fault in that"
        return failed(behaviour.UNEXPLAINED, error=outcome.error, note=note)
    return outcome


def _backward_is_wrong(case: Case, rank: int, part: str) -> bool:
    """Tell whether finite differences of the norm's own output disagree with its gradients."""
    values = case.evidence.values(f"gradcheck {part}") or {}
    return bool(values.get(str(rank), "unknown"))


def finite_differences(case: Case, training: bool) -> Outcome:
    """Judge the gradients by the norm's own output, whatever that is."""
    part = "training" if training else "predicting"
    values = case.values(f"gradcheck {part}")
    wrong = {int(rank): said for rank, said in values.items() if said}
    if not wrong:
        return passed()
    if case.narrowing is not None:
        return failed(case.narrowing)
    # Statistics that are not the batch's may be constants by design, or not be differentiable.
    slots = ("x_gradient", "gamma_gradient", "beta_gradient", "source")
    faults: list[Fault] = []
    for rank in wrong:
        recipe = case.recipe(rank)
        trains = recipe.mode.does(training, True)  # whatever it should do
        formula = recipe.training if trains else recipe.predicting
        reference = case.right.training if trains else case.right.predicting
        for slot in slots:
            choice = getattr(formula, slot)
            if choice is not getattr(reference, slot) and choice.fault is not None:
                faults.append(choice.fault)
    seen = [case.evidence.values(f"{part} {rank}") for rank in wrong]
    if any(not _with_gradients(v)["connected"] for v in seen if v is not None):
        faults = [behaviour.OUTPUT_DETACHED]
    if not faults:
        return failed(behaviour.UNEXPLAINED, note=next(iter(wrong.values())))
    return failed(*dict.fromkeys(faults))


def _with_gradients(values: Values) -> Values:
    found: Values = values.get("with_gradients", values)
    return found


def faint_variance(case: Case) -> Outcome:
    """Judge the outputs where the variance lies far below eps."""
    outcomes = []
    for rank in case.evidence.ranks:
        for part, training in (("training", True), ("predicting", False)):
            values = case.evidence.values(f"{part} {rank}")
            if values is None:
                continue
            made = case.evidence.situation(faint, rank)
            seen = only(values["faint"], *OUTPUT)
            outcomes.append(case.compare(rank, seen, playing(made, training=training)))
    return worst(outcomes)


def large_mean(case: Case) -> Outcome:
    """Judge the output where the mean is large beside the spread."""
    values = case.values("far")
    rank, made = case.evidence.rank, case.evidence.situation(far)
    if case.evidence.dtype in HALVES:
        return skipped(TOO_FEW_DIGITS)
    outcome = case.compare(
        rank,
        only(values, *OUTPUT),
        playing(made, training=True),
        slack=FAR_SLACK,
    )
    if not outcome.unexplained:
        return outcome
    if case.narrowing is not None:
        return failed(case.narrowing, error=outcome.error)
    if ("training", rank) in case.diagnosis.unexplained:
        return outcome
    return failed(behaviour.CANCELLING, error=outcome.error)


def level_channel(case: Case) -> Outcome:
    """Judge output and gradients where every channel holds one value."""
    values = case.values("level")
    if case.evidence.dtype in HALVES:
        return skipped(TOO_FEW_DIGITS)
    seen = only(values, "y", "d_x")
    rank, made = case.evidence.rank, case.evidence.situation(level)

    def finite(recipe: Recipe) -> bool:
        played = playing(made, training=True)(recipe)
        return all(bool(played[name].isfinite().all()) for name in seen)

    if all(bool(tensor.isfinite().all()) for tensor in seen.values()):
        expect = playing(made, training=True)
        return case.compare(rank, only(values, *OUTPUT), expect, slack=LEVEL_SLACK)
    recipe = case.recipe(rank)
    needed = [fault for _, fault, mended in deviations(recipe, case.right) if finite(mended)]
    if finite(recipe) or not needed:
        needed = [behaviour.NOT_FINITE_AT_ZERO_VARIANCE]
    return failed(*dict.fromkeys(needed), error=math.inf)


def odd_shapes(case: Case) -> Outcome:
    """Judge training on inputs of tiny and odd shapes."""
    values = case.values("odd")
    outcomes = []
    for text, seen in values.items():
        shape = tuple(int(length) for length in text.strip("()").split(",") if length.strip())
        if isinstance(seen, str):
            outcomes.append(failed(behaviour.trouble("raised", f"{seen} for an input of {shape}")))
            continue
        made = case.evidence.as_held(situation(shape, case.evidence.dtype))
        values_seen = only(seen, *OUTPUT, *MOVING)
        outcomes.append(case.compare(len(shape), values_seen, playing(made, training=True)))
    return worst(outcomes)


def input_unchanged(case: Case) -> Outcome:
    """Judge whether the input holds the same values afterwards."""
    changed = [part for part, is_so in case.values("input").items() if is_so]
    note = " and ".join(
        "in training" if part == "training" else "when predicting" for part in changed
    )
    return failed(behaviour.WRITES_INTO_INPUT, note=note) if changed else passed()


def repeatable(case: Case) -> Outcome:
    """Judge whether the same input gives the same output."""
    values = case.values("repeat")
    error = distance(values["second"], values["first"])
    return failed(behaviour.NOT_REPEATABLE, error=error) if error > 0 else passed(error)


def layouts(case: Case, names: Sequence[str]) -> Outcome:
    """Judge inputs of the same values that lie otherwise in memory."""
    values = case.values("layouts")
    if isinstance(values["contiguous"], str):
        return failed(behaviour.trouble("raised", values["contiguous"]))
    present = [name for name in names if name in values]
    if not present:
        return skipped("needs inputs of (N, C, H, W)")
    refused = [values[name] for name in present if isinstance(values[name], str)]
    if refused:
        return failed(behaviour.REFUSES_LAYOUTS, note=refused[0])
    error = max(distance(values[name], values["contiguous"]) for name in present)
    if error > case.tolerance:
        return failed(behaviour.WRONG_LAYOUTS, error=error)
    return passed(error)


def float64_kept(case: Case) -> Outcome:
    """Judge whether float64 stays so, on the way and in the output."""
    if case.float64_refused:
        return failed(behaviour.FLOAT64_REFUSED)
    values = case.values("double")
    if case.narrowing is not None:
        dtype = values["y_dtype"].removeprefix("torch.")
        note = f"the output's dtype is {dtype}, its digits are float32's"
        return failed(case.narrowing, note=note)
    if case.evidence.dtype != torch.float64:
        return skipped("asked for another dtype")
    return passed()
