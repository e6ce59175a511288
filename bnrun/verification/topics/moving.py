"""The moving statistics: their initial values, and how they move in training alone."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.check import Case, check, check_ranks, simulation
from bnrun.verification.diagnostic_passes import PREDICTING, TRAINING
from bnrun.verification.distance import LABELS, Tensors
from bnrun.verification.experiment import Experiment, experiment
from bnrun.verification.fault import OF_BATCH, Fault
from bnrun.verification.formula.families import GEMMA
from bnrun.verification.outcome import (
    Outcome,
    combined,
    explained,
    failed,
    passed,
    skipped,
)
from bnrun.verification.recipe import Recipe, move
from bnrun.verification.report import NO_MOVING_STATISTICS
from bnrun.verification.situations import LAYOUTS, MAIN_RANKS, STEPS, plain, sequence
from bnrun.verification.subject import Record, Subject, to_record
from bnrun.verification.topics.switching import SHARED_STATE, share_state

INITIAL = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_var": 1}
STARTS_WRONG = {
    name: Fault(
        f"{name.replace('_', '-')}-starts-wrong",
        f"{label} does not start at {INITIAL[name]}.",
        f"Start it at torch.{'ones' if INITIAL[name] else 'zeros'}(num_features).",
        families=OF_BATCH if "moving" in name else (),
    )
    for name, label in zip(
        INITIAL, ("gamma", "beta", "The moving mean", "The moving variance"), strict=True
    )
}


@dataclass(frozen=True)
class State(Record):
    """gamma, beta, moving_mean and moving_var, those that a layer has."""

    values: dict[str, Tensor]


@experiment("starting values")
def initial_values(subject: Subject) -> State:
    """Read out a new layer."""
    layer = subject.build(subject.rank)
    learned = {"gamma": layer.gamma, "beta": layer.beta}
    values = {name: to_record(t).reshape(-1) for name, t in learned.items() if t is not None}
    return State(values | ({} if layer.moving is None else layer.moving_values()))


def _updates(rank: int, subject: Subject) -> State:
    """Return the moving statistics after each of several batches, of shape (STEPS, C)."""
    batches = sequence(rank, subject.dtype)
    layer = subject.build(rank, batches[0])
    after = []
    for batch in batches:
        layer.forward(layer.own(batch.x), training=True)
        after.append(layer.moving_values())
    return State({name: torch.stack([values[name] for values in after]) for name in after[0]})


UPDATES = {
    rank: Experiment(f"updates, {LAYOUTS[rank]}", functools.partial(_updates, rank))
    for rank in MAIN_RANKS
}


@check(
    initial_values,
    "moving statistics",
    "gamma 1, beta 0, moving mean 0, moving variance 1",
    needs_forward=False,
)
def _initial_values(case: Case) -> Outcome:
    record = case.require(initial_values)
    expected = INITIAL | ({"gamma": 0} if _scales_by_one_more(case) else {})
    errors = {name: float((t - expected[name]).abs().max()) for name, t in record.values.items()}
    if not errors:
        return skipped("neither gamma, beta nor moving statistics under the usual names")
    error = max(errors.values())
    wrong = {
        STARTS_WRONG[name]: f"{LABELS.get(name, name)} starts at {_values(record.values[name])}"
        for name, error in errors.items()
        if error != 0
    }
    if not wrong:
        return passed(error)
    return failed(SHARED_STATE, error=error) if share_state(case) else explained(wrong, error)


def _values(values: Tensor) -> str:
    """Return the values of a vector, once where all are the same."""
    return ", ".join(f"{value:.4g}" for value in dict.fromkeys(values.tolist()))


def _scales_by_one_more(case: Case) -> bool:
    """Return whether it scales by 1 + gamma as a dialect, in which gamma starts at 0."""
    return case.recipe(case.rank).training.affine is GEMMA


def _one_batch(case: Case, training: bool) -> Outcome:
    if not case.parts.moves:
        return skipped(NO_MOVING_STATISTICS)
    return combined(
        case.compare(
            rank, passes.plain.moving, simulation(case.situation(plain, rank), training=training)
        )
        for rank, passes in case.passes(training)
    )


def _order(case: Case, rank: int) -> Outcome:
    if not case.parts.moves:
        return skipped(NO_MOVING_STATISTICS)
    batches = [case.restrict(batch) for batch in sequence(rank, case.dtype)]

    def expect(recipe: Recipe) -> Tensors:
        mean, var = batches[0].moving_mean, batches[0].moving_var
        after = []
        for k, batch in enumerate(batches, start=1):
            if recipe.moves.value(recipe.mode.value(True, True)):
                mean, var = move(recipe, batch.x, mean, var, k)
            after.append((mean, var))
        means, variances = zip(*after, strict=True)
        return {"moving_mean": torch.stack(means), "moving_var": torch.stack(variances)}

    return case.compare(rank, case.require(UPDATES[rank]).values, expect)


check(
    "first update",
    "moving statistics",
    "the moving statistics after one batch, from random ones",
    *TRAINING.values(),
    families=("batch",),
)(functools.partial(_one_batch, training=True))
check_ranks(
    "updates in order",
    "moving statistics",
    f"the moving statistics after each of {STEPS} batches",
    UPDATES,
    families=("batch",),
)(_order)
check(
    "left alone when predicting",
    "moving statistics",
    "predicting moves no moving statistics",
    *PREDICTING.values(),
    families=("batch",),
)(functools.partial(_one_batch, training=False))
