"""Judging what the constructor offers, beyond the number of features."""

from collections.abc import Callable

from bnrun.verification.evidence import distance
from bnrun.verification.judge.outcome import (
    MOVING,
    NOTHING_MOVING,
    OUTPUT,
    Case,
    Outcome,
    Tensors,
    failed,
    only,
    passed,
    playing,
    skipped,
)
from bnrun.verification.known import batch_statistics, momentum, offers
from bnrun.verification.known.fault import Choice, Fault
from bnrun.verification.observe.offered import OTHER_EPS, OTHER_MOMENTUM
from bnrun.verification.recipe import Recipe, move, normalize
from bnrun.verification.situations import plain, sequence


def other_eps(case: Case) -> Outcome:
    """Judge whether eps is used."""
    values = case.values("eps")
    expect = playing(case.evidence.situation(plain), training=True)

    def with_eps(recipe: Recipe) -> Tensors:
        eps = Choice(OTHER_EPS)
        training, predicting = recipe.training.having(eps=eps), recipe.predicting.having(eps=eps)
        return expect(recipe.having(training=training, predicting=predicting))

    outcome = case.compare(case.evidence.rank, only(values, *OUTPUT), with_eps)
    unused = distance(values["y"], values["default"]) <= case.evidence.tolerance
    if outcome.unexplained and unused:
        return failed(offers.EPS_IGNORED, error=outcome.error)
    return outcome


def other_momentum(case: Case) -> Outcome:
    """Judge what momentum weighs."""
    values = case.values("momentum")
    if not case.evidence.offers["moving"]:
        return skipped(NOTHING_MOVING)
    expect = playing(case.evidence.situation(plain), training=True)
    seen = only(values, *MOVING)

    def weighing(weight: float) -> Callable[[Recipe], Tensors]:
        return lambda recipe: expect(_with_update(recipe, momentum.weighing(weight)))

    outcome = case.compare(case.evidence.rank, seen, weighing(OTHER_MOMENTUM))
    if not outcome.unexplained:
        return outcome
    at_fault = _mistakes_in_updates(case)
    if at_fault:
        return failed(*at_fault, error=outcome.error)
    turned = case.compare(case.evidence.rank, seen, weighing(1 - OTHER_MOMENTUM))
    if not turned.unexplained:
        of_old = () if case.contract == "textbook" else (offers.MOMENTUM_OF_OLD,)
        faults = (*of_old, *turned.faults)
        return failed(*faults) if faults else passed(turned.error)
    unused = case.compare(case.evidence.rank, seen, expect)
    if not unused.unexplained:
        return failed(offers.MOMENTUM_IGNORED, error=outcome.error)
    return outcome


def _with_update(recipe: Recipe, update: momentum.Update) -> Recipe:
    return recipe.having(mean_update=Choice(update), var_update=Choice(update))


def _mistakes_in_updates(case: Case) -> tuple[Fault, ...]:
    """Return what is wrong with the default momentum, dialects apart."""
    recipe = case.recipe(case.evidence.rank)
    faults = (recipe.mean_update.fault, recipe.var_update.fault)
    return tuple(dict.fromkeys(f for f in faults if f is not None and not f.is_dialect))


def momentum_none(case: Case) -> Outcome:
    """Judge whether momentum=None averages over all batches alike."""
    values = case.values("momentum none")
    if not case.evidence.offers["moving"]:
        return skipped(NOTHING_MOVING)
    batches = [made.x for made in sequence(case.evidence.rank, case.evidence.dtype)]

    def cumulative(recipe: Recipe) -> Tensors:
        made = case.evidence.situation(plain)
        mean, var = made.moving_mean, made.moving_var
        averaging = _with_update(recipe, momentum.cumulative)
        for k, x in enumerate(batches, start=1):
            mean, var = move(averaging, x, mean, var, k)
        return {"moving_mean": mean, "moving_var": var}

    outcome = case.compare(case.evidence.rank, only(values, *MOVING), cumulative)
    if not outcome.unexplained:
        return outcome
    known = _mistakes_in_updates(case)
    asked = case.evidence.values("momentum") is not None
    if not known and asked and offers.MOMENTUM_IGNORED in other_momentum(case).faults:
        known = (offers.MOMENTUM_IGNORED,)
    return failed(*(known or (offers.MOMENTUM_NONE,)), error=outcome.error)


def affine_false(case: Case) -> Outcome:
    """Judge whether affine=False leaves gamma and beta out."""
    values = case.values("affine")
    made = case.evidence.situation(plain).without(gamma=True, beta=True)
    outcome = case.compare(case.evidence.rank, only(values, *OUTPUT), playing(made, training=True))
    if values["learns"] or outcome.unexplained:
        return failed(offers.AFFINE_IGNORED, error=outcome.error)
    return outcome


def track_false(case: Case) -> Outcome:
    """Judge whether track_running_stats=False predicts with the batch."""
    values = case.values("track")
    made = case.evidence.situation(plain)

    def by_batch(recipe: Recipe) -> Tensors:
        formula = recipe.predicting.having(source=batch_statistics.BY_BATCH)
        return {"y": normalize(formula, made, made.x, made.gamma, made.beta)[0]}

    outcome = case.compare(case.evidence.rank, only(values, *OUTPUT), by_batch)
    if outcome.unexplained:
        return failed(offers.TRACK_IGNORED, error=outcome.error)
    return outcome
