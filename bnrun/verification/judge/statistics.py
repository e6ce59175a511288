"""Judging statistics, the batch's and the moving ones: when they are used, and how they move."""

import dataclasses

import torch

from bnrun.verification.diagnose import COMBINATIONS
from bnrun.verification.evidence import distance
from bnrun.verification.judge.outcome import (
    MOVING,
    NOTHING_MOVING,
    Case,
    Outcome,
    Tensors,
    failed,
    only,
    passed,
    playing,
    skipped,
    worst,
)
from bnrun.verification.known import batch_statistics, behaviour, offers
from bnrun.verification.recipe import Recipe, move, play
from bnrun.verification.situations import others_changed, plain, sequence

GROWTH = 4.0  # bytes of each batch: one number


def updates(case: Case, rank: int) -> Outcome:
    """Judge the moving statistics after each of several batches."""
    if not case.evidence.offers["moving"]:
        return skipped(NOTHING_MOVING)
    values = case.values(f"updates {rank}")
    seen = {
        f"{name} {k}": after[name]
        for k, after in enumerate(values["after"], start=1)
        for name in MOVING
    }
    batches = [case.evidence.as_held(made) for made in sequence(rank, case.evidence.dtype)]

    def expect(recipe: Recipe) -> Tensors:
        mean, var = batches[0].moving_mean, batches[0].moving_var
        moves = recipe.moves.does(recipe.mode.does(True, True))
        expected: dict[str, torch.Tensor] = {}
        for k, made in enumerate(batches, start=1):
            if moves:
                mean, var = move(recipe, made.x, mean, var, k)
            expected |= {f"moving_mean {k}": mean, f"moving_var {k}": var}
        return expected

    return case.compare(rank, seen, expect)


def first_update(case: Case) -> Outcome:
    """Judge the moving statistics after one batch in training."""
    return _after_one(case, True)


def left_alone(case: Case) -> Outcome:
    """Judge whether predicting leaves the moving statistics as they are."""
    return _after_one(case, False)


def _after_one(case: Case, training: bool) -> Outcome:
    if not case.evidence.offers["moving"]:
        return skipped(NOTHING_MOVING)
    outcomes = []
    for rank in case.evidence.ranks:
        values = case.evidence.values(f"{'training' if training else 'predicting'} {rank}")
        if values is not None:
            made = case.evidence.situation(plain, rank)
            seen = only(values, *MOVING)
            outcomes.append(case.compare(rank, seen, playing(made, training=training)))
    return worst(outcomes)


def starting_values(case: Case) -> Outcome:
    """Judge what a layer starts with."""
    values = case.values("start")
    right = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_var": 1.0}
    distances = {
        name: float((values[name] - start).abs().max())
        for name, start in right.items()
        if name in values
    }
    if not distances:
        return skipped("neither gamma, beta nor moving statistics under the usual names")
    wrong = [behaviour.STARTS_AT[name] for name, far_off in distances.items() if far_off != 0]
    error = max(distances.values())
    return failed(*wrong, error=error) if wrong else passed(error)


def mode(case: Case) -> Outcome:
    """Judge what switches between training and predicting, in all four combinations."""
    values = case.values("modes")
    what = ["own"] + (["moved"] if case.evidence.offers["moving"] else [])
    seen = {
        f"{kind} {training} {grad}": torch.tensor(float(values[f"{training} {grad}"][kind]))
        for kind in what
        for training, grad in COMBINATIONS
    }
    outcome = case.compare(case.evidence.rank, seen, lambda recipe: _modes_of(recipe, case))
    if outcome.unexplained:
        said = [
            f"{'train()' if training else 'eval()'} {'with' if grad else 'without'} gradients: "
            + ("batch" if values[f"{training} {grad}"]["own"] else "moving statistics")
            + (", moves" if values[f"{training} {grad}"]["moved"] else ", moves nothing")
            for training, grad in COMBINATIONS
        ]
        outcome = failed(behaviour.UNEXPLAINED, note="; ".join(said))
    return dataclasses.replace(outcome, error=None)


def _modes_of(recipe: Recipe, case: Case) -> Tensors:
    """Return what `modes` would observe of a recipe."""
    made = case.evidence.situation(plain)
    other = dataclasses.replace(made, x=others_changed(made.x))
    expected = {}
    for training, grad in COMBINATIONS:
        first, second = (play(recipe, one, training=training, grad=grad) for one in (made, other))
        own = first["y"].flatten()[0] != second["y"].flatten()[0]
        moved = any(not torch.equal(first[name], getattr(made, name)) for name in MOVING)
        for kind, value in (("own", bool(own)), ("moved", moved)):
            expected[f"{kind} {training} {grad}"] = torch.tensor(float(value))
    return expected


def again(case: Case) -> Outcome:
    """Judge whether a layer that has predicted trains as a new one does."""
    values, recipe = case.values("again"), case.recipe(case.evidence.rank)
    if recipe.training.source is not batch_statistics.BY_BATCH:
        return skipped("in training it does not go by the batch alone")
    error = distance(values["again"], values["fresh"])
    if error > case.tolerance:
        trains = recipe.mode.does(True, True)
        fault = None if trains else recipe.mode.fault
        return failed(fault or behaviour.NEVER_TRAINS_AGAIN, error=error)
    return passed(error)


def no_graph(case: Case) -> Outcome:
    """Judge whether something of autograd's graph outlives the step."""
    values = case.values("graph")
    grows = case.evidence.values("memory")
    if values["failures"]:
        return failed(behaviour.KEEPS_GRAPH, note=values["failures"][0])
    if values["kept"]:
        note = f"a grad_fn after a step, of {', '.join(values['kept'])}"
        for_good = grows is None or grows["growth"] >= GROWTH
        return failed(behaviour.KEEPS_GRAPH if for_good else behaviour.HOLDS_GRAPH, note=note)
    return passed()


def memory(case: Case) -> Outcome:
    """Judge how much of each batch is still alive after many steps."""
    values = case.values("memory")
    if values["growth"] < GROWTH:
        return passed()
    graph = case.evidence.values("graph") or {"kept": [], "failures": []}
    keeps = graph["kept"] or graph["failures"]
    note = f"{values['growth']:.0f} bytes more with each batch of 192"
    return failed(behaviour.KEEPS_GRAPH if keeps else behaviour.MEMORY_GROWS, note=note)


def one_value(case: Case) -> Outcome:
    """Judge training on one value per channel: PyTorch refuses it."""
    accepted = [seen for seen in case.values("one value").values() if not isinstance(seen, str)]
    if not accepted:
        return passed()
    recipe = case.recipe(case.evidence.rank)
    training = recipe.training
    if not recipe.mode.does(True, True) and recipe.mode.fault is not None:
        return failed(recipe.mode.fault)  # it had no chance to refuse: it predicted
    if case.identity:
        return failed(behaviour.IDENTITY)
    # What takes other statistics than each channel's, or none, has more than one value.
    elsewhere = [
        mine.fault
        for mine, right in (
            (training.source, case.right.training.source),
            (training.over, case.right.training.over),
        )
        if mine is not right and mine.fault is not None
    ]
    if elsewhere:
        return failed(*elsewhere)
    if not all(seen["finite"] for seen in accepted):
        unbiased = training.spread is batch_statistics.SPREAD[1]
        fault = training.spread.fault if unbiased else None
        return failed(fault or offers.ONE_VALUE_NOT_FINITE)
    if not all(seen["moving_finite"] for seen in accepted):
        return failed(offers.ONE_VALUE_POISONS)
    return passed() if case.contract == "textbook" else failed(offers.ONE_VALUE_ACCEPTED)
