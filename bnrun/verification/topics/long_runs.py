"""Many batches: what a layer computes may depend on how many it has seen."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.check import Case, check
from bnrun.verification.distance import distance, worst_difference
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import OF_BATCH, Fault
from bnrun.verification.formula.moving_statistics import CHANGING_MOMENTUM, LARGER_AT_FIRST
from bnrun.verification.outcome import Outcome, failed, passed
from bnrun.verification.recipe import move, simulate
from bnrun.verification.situations import STEPS, plain
from bnrun.verification.subject import Record, Subject, to_record

# fmt: off
CHANGES_LEARNED = Fault(
    "changes-parameters",
    "A forward pass changes gamma or beta, which only the optimizer should.",
    "Do not assign to them in forward; keep what is folded in a local variable.")
CHANGES_OUTPUT = Fault(
    "output-changes-over-time",
    "In training, the same batch gives another output after many batches.",
    "Normalize with the batch's own statistics at every step, however many there were.",
    of_values=True)
CHANGES_UPDATE = Fault(
    "updates-change-over-time",
    "After many batches, the moving statistics are updated differently.",
    "Update them in the same way with every batch.",
    of_values=True, families=OF_BATCH)
OTHER_STATISTICS = Fault(
    "predicts-with-other-statistics",
    "Predictions do not go by the moving statistics that training moves.",
    "Predict with the running_mean and running_var that are updated in training: one pair, in one "
    "layer.",
    of_values=True, families=OF_BATCH)
# fmt: on

BATCHES = 40
"""Batches in training; a change that comes later is not found."""
CHANGES = {CHANGING_MOMENTUM.name, LARGER_AT_FIRST.name}
"""Faults of updates whose weights are known for the first batches alone."""


@dataclass(frozen=True)
class LongRun(Record):
    """One batch in training, again and again, and a prediction afterwards.

    Attributes:
        changes: how far the output of each batch lies from that of the first.
        moving: the moving statistics after each batch, where they are found by name.
        prediction: the output for the same batch when predicting.
        after: the moving statistics that it was made with.
        learned: how gamma or beta have changed in the end; "" where they have not.
    """

    changes: list[float]
    moving: list[dict[str, Tensor]]
    prediction: Tensor
    after: dict[str, Tensor]
    learned: str


@experiment("many batches")
def long_run(subject: Subject) -> LongRun:
    """Train many times on one batch, and predict it."""
    situation = subject.situation(plain)
    layer = subject.build(subject.rank, situation)
    x = layer.own(situation.x)
    learned = {"gamma": layer.gammas, "beta": layer.betas}
    before = {name: [*map(to_record, owned)] for name, owned in learned.items()}
    outputs, moving = [], []
    for _ in range(BATCHES):
        outputs.append(layer.forward(x.clone(), training=True).detach())
        if layer.statistics:
            moving.append(layer.moving_values())
    scale = max(1.0, float(outputs[0].abs().max()))
    apart = (torch.stack(outputs) - outputs[0]).abs().flatten(1).amax(1).double() / scale
    changes = apart.nan_to_num(torch.inf).tolist()
    after = layer.moving_values() if layer.statistics else {}
    prediction = layer.record(layer.forward(x, training=False))
    changed = [
        worst_difference({name: to_record(new)}, {name: old})
        for name, owned in learned.items()
        for new, old in zip(owned, before[name], strict=True)
        if not torch.equal(to_record(new), old)
    ]
    return LongRun(changes, moving, prediction, after, next(iter(changed), ""))


@check(
    long_run, "module contract", f"{BATCHES} batches do as the first, and are what predictions use"
)
def _long_run(case: Case) -> Outcome:
    record = case.require(long_run)
    recipe = case.recipe(case.rank)
    if record.learned:
        return failed(CHANGES_LEARNED, note=record.learned)
    if recipe.training.source is case.right.training.source:
        error = max(record.changes)
        at = next((k for k, one in enumerate(record.changes, 1) if one > case.tolerance), None)
        if at is not None:
            sentence = f"In training, batch {at} gives another output than the same batch before."
            fault = dataclasses.replace(CHANGES_OUTPUT, sentence=sentence)
            return failed(fault, error=error)
    unexplained = {part for part, rank in case.diagnosis.unexplained if rank == case.rank}
    if case.construction.family == "batch" and record.after and not unexplained:
        return _updates(case, record) or _prediction(case, record)
    return passed(max(record.changes))


def _updates(case: Case, record: LongRun) -> Outcome | None:
    """Return the failure of an update that is not as the first ones were."""
    recipe, situation = case.recipe(case.rank), case.situation(plain)
    if recipe.mean_update.fault is not None and recipe.mean_update.fault.name in CHANGES:
        return None  # how these go on is not known
    moves = recipe.moves.value(recipe.mode.value(True, True))

    def error_at(k: int) -> float:
        """Return how far the k-th update, counted from 1, is from what the first ones were."""
        before, after = record.moving[k - 2], record.moving[k - 1]
        mean, var = before["moving_mean"], before["moving_var"]
        if moves:
            mean, var = move(recipe, situation.x, mean, var, k)
        return max(distance(after["moving_mean"], mean), distance(after["moving_var"], var))

    error = error_at(BATCHES)
    if error <= case.tolerance:
        return None
    k = next(k for k in range(STEPS + 1, BATCHES + 1) if error_at(k) > case.tolerance)
    how = "no longer moves" if _equal(*record.moving[k - 2 : k]) else "moves differently"
    sentence = f"From batch {k} on, the moving average {how}."
    return failed(dataclasses.replace(CHANGES_UPDATE, sentence=sentence), error=error)


def _equal(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    return all(torch.equal(before[name], after[name]) for name in before)


def _prediction(case: Case, record: LongRun) -> Outcome:
    """Return whether the prediction is of the moving statistics after the last batch."""
    situation = dataclasses.replace(case.situation(plain), **record.after)
    expected = simulate(case.recipe(case.rank), situation, training=False, grad=False)["y"]
    error = distance(record.prediction, expected)
    if error <= case.tolerance:
        return passed(error)
    note = case.difference({"y": record.prediction}, {"y": expected})
    return failed(OTHER_STATISTICS, error=error, note=note)
