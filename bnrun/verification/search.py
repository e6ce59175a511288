"""The search for the mistakes that give what was observed for inputs of one rank.

Part by part: the output, the moving statistics, the gradients. For each, the right way is tried,
then every known mistake, then every two, every three.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from bnrun.verification.diagnostic_passes import (
    PREDICTING,
    PREDICTING_WITH_GRADIENTS,
    TRAINING,
    Passes,
)
from bnrun.verification.distance import Tensors, distance
from bnrun.verification.evidence import Evidence
from bnrun.verification.fault import Choice
from bnrun.verification.formula import batch_statistics, gradients, normalization
from bnrun.verification.formula.batch_statistics import Pair, Source
from bnrun.verification.formula.families import Ways
from bnrun.verification.formula.moving_statistics import (
    AVERAGES_CORRECTED,
    AVERAGES_DEVIATION,
    CORRECTED_DEVIATION,
    CORRECTED_TWICE,
    HOLDS_EPS,
    MEAN_TARGET,
    UPDATE,
    VAR_TARGET,
    VAR_UPDATE,
    Target,
    weight_of,
    weights_of,
)
from bnrun.verification.formula.normalization import NO_EPS
from bnrun.verification.formula.spread import SPREAD
from bnrun.verification.recipe import (
    Formula,
    Recipe,
    candidates,
    differentiate,
    move,
    statistics,
    summarize,
)
from bnrun.verification.situations import MAIN_RANKS, Situation, faint, per_channel, plain, sequence
from bnrun.verification.subject import Pass
from bnrun.verification.topics.moving import UPDATES

MOST_MISTAKES = 3
"""Mistakes in one part that are tried together."""

Step = tuple[Tensor, Tensors]
"""A batch, and the moving statistics after it."""


class Search:
    """The search for the recipe of one rank, starting from likely ones.

    The first of these is the right one, in the mode that was found. `unexplained` names the parts
    for which no recipe gives what was observed.
    """

    def __init__(
        self, evidence: Evidence, rank: int, likely: Sequence[Recipe], tolerance: float, most: int
    ) -> None:
        self.unexplained: set[str] = set()
        self._evidence, self._rank = evidence, rank
        self._known = evidence.ways
        self._tolerance, self._most = tolerance, most
        self._likely, self._right = likely[::-1], likely[0]
        self._situation = evidence.situation(plain, rank)
        # After train() with gradients enabled, and after eval() without and with them
        seen = {
            (True, True): evidence.record(TRAINING[rank]),
            (False, False): evidence.record(PREDICTING[rank]),
            (False, True): evidence.record(PREDICTING_WITH_GRADIENTS[rank]),
        }
        self._seen = {how: passes for how, passes in seen.items() if passes is not None}

    def recipe(self) -> Recipe:
        """Return the recipe with the fewest mistakes that gives what was observed."""
        recipe = self._right
        training = self._formula("training", recipe)
        recipe = recipe.having(training=training)
        # If predicting uses the batch's own statistics, it computes them as training does.
        start = recipe.predicting.having(over=training.over, spread=training.spread)
        start = start if self._known.has_moving else training
        recipe = recipe.having(predicting=start)
        predicting = self._formula("predicting", recipe)
        of_batch = predicting.over.value.include(0, self._rank)
        if predicting.source is batch_statistics.BY_BATCH and not of_batch:
            predicting = predicting.having(source=batch_statistics.BY_EXAMPLE)
        recipe = recipe.having(predicting=predicting)
        if self._evidence.parts.moves and self._known.has_moving:
            recipe = _with_moving_deviation(self._moving(recipe))
        for part in ("training", "predicting"):
            recipe = recipe.having(**{part: self._gradients(part, recipe)})
        return recipe

    def _seen_where(self, trains: bool, grads: Sequence[bool]) -> Passes | None:
        """Return what was seen in a mode, with gradients enabled or not as preferred."""
        for grad, training in itertools.product(grads, (trains, not trains)):
            seen = self._seen.get((training, grad))
            if seen is not None and self._right.mode.value(training, grad) == trains:
                return seen
        return None

    # ---- the output

    def _formula(self, part: str, recipe: Recipe) -> Formula:
        """Return the formula of a part that gives the observed outputs, plain and faint."""
        start: Formula = getattr(recipe, part)
        trains = part == "training"
        seen = self._seen_where(trains, grads=(trains, not trains))
        if seen is None:
            return start
        outputs = (
            _Output(self._situation, seen.plain),
            _Output(self._evidence.situation(faint, self._rank), seen.faint),
        )
        formulas: Iterable[Formula] = (getattr(recipe, part) for recipe in self._likely)
        if not self._known.has_moving:  # predicting is likely to be as training
            formulas = itertools.chain([start], formulas)
        if seen.plain.y.isfinite().any():  # otherwise, many mistakes would give it
            others = self._candidates(start, trains, seen)
            together = (
                start.having(**ways, eps=eps)
                for ways, eps in itertools.product(self._known.together, self._known.eps)
            )
            formulas = itertools.chain(formulas, together, others)
        for formula in formulas:
            if all(output.distance(formula) <= self._tolerance for output in outputs):
                return formula
        self.unexplained.add(part)
        return start

    def _candidates(self, start: Formula, trains: bool, seen: Passes) -> Iterator[Formula]:
        """Yield what differs from a formula; some of that is read from what was seen."""
        yield from candidates(start, self._slots(trains, seen), self._most)

    def _slots(self, trains: bool, seen: Passes) -> dict[str, Iterable[Choice[Any]]]:
        """Return the ways to compute each part of a formula."""
        ways, y = self._known, seen.faint.y
        eps = self._evidence.parts.eps
        own = trains or not ways.has_moving
        gamma, beta = (per_channel(v, y) for v in (self._situation.gamma, self._situation.beta))
        is_known = eps is None or any(eps == choice.value for choice in ways.eps)
        return {
            "source": self._training_source(seen) if trains else ways.predicting_source,
            "over": ways.over if own else (),
            "spread": ways.spread if own else (),
            "parts": ways.parts if own else (),
            "centring": ways.centring,
            "denominator": ways.denominator,
            "eps": ways.eps + (() if is_known else (_eps(eps or 0.0, ways),)),
            "affine": ways.affine + normalization.clipped(gamma, beta, y),
        }

    def _training_source(self, seen: Passes) -> tuple[Choice[Source], ...]:
        """Return the statistics that may normalize in training."""
        if not self._known.has_moving:
            return self._known.training_source
        situations = self._situation, self._evidence.situation(faint, self._rank)
        pairs = (
            (one.x, (y - per_channel(one.beta, y)) / per_channel(one.gamma, y))
            for one, y in zip(situations, (seen.plain.y, seen.faint.y), strict=True)
        )
        return self._known.training_source + batch_statistics.renormalizing(pairs)

    # ---- the moving statistics

    def _moving(self, recipe: Recipe) -> Recipe:
        steps = self._steps()
        if not steps:
            return recipe
        # One step shows less than several: other ranks move as the main ones do, or unexplained.
        alone = self._rank == self._evidence.rank or self._rank in MAIN_RANKS
        for name, targets in (("mean", MEAN_TARGET), ("var", VAR_TARGET)):
            ways = itertools.chain(
                (_moving_as(recipe, likely, name) for likely in self._likely),
                self._ways(recipe, name, targets, steps) if alone else (),
            )
            fitting = next((way for way in ways if self._moves(way, name, steps)), None)
            if fitting is None:
                self.unexplained.add(f"moving {name}")
            recipe = fitting or recipe
        return recipe

    def _steps(self) -> list[Step]:
        """Return batches that moved the moving statistics, each with those after it."""
        moves_in_training = self._right.moves.value(True)
        if moves_in_training and self._right.mode.value(True, True) and self._rank in MAIN_RANKS:
            updates = self._evidence.record(UPDATES[self._rank])
            if updates is not None:
                batches = sequence(self._rank, self._evidence.dtype)
                return [
                    (batch.x, {name: values[at] for name, values in updates.values.items()})
                    for at, batch in enumerate(batches)
                ]
        grads = (True, False) if moves_in_training else (False, True)
        seen = self._seen_where(moves_in_training, grads)
        return [] if seen is None else [(self._situation.x, seen.plain.moving)]

    def _ways(
        self, recipe: Recipe, name: str, targets: Sequence[Choice[Target]], steps: list[Step]
    ) -> Iterator[Recipe]:
        """Yield the recipes that differ in how a moving statistic moves, the likeliest first."""
        right: Choice[Target] = getattr(self._right, f"{name}_target")
        ordered = [right, *(choice for choice in targets if choice is not right)]
        # The moving variance may average what normalizes, with the mistake that is in that.
        faulty = recipe.training.spread is not SPREAD[0]
        spreads = [False, True] if faulty and name == "var" else [False]
        moving = [
            recipe.having(
                **{f"{name}_target": target}, target_has_spread=recipe.target_has_spread or spread
            )
            for target, spread in itertools.product(ordered, spreads)
        ]
        as_right = moving[: len(spreads)]
        usual, *others = UPDATE if name == "mean" else VAR_UPDATE
        for ways, updates in itertools.product((as_right, moving), ([usual], others)):
            for way, update in itertools.product(ways, updates):
                yield way.having(**{f"{name}_update": update})
            if updates is others:
                for way in ways:
                    weights = self._weights(way, name, steps)
                    yield way.having(**{f"{name}_update": weight_of(weights[0])})
                    if len(weights) > 1:
                        yield way.having(**{f"{name}_update": weights_of(weights)})

    def _weights(self, recipe: Recipe, name: str, steps: list[Step]) -> list[float]:
        """Return the weight of the new batch that fits each step best."""
        situation, weights = self._situation, []
        before: Tensors = {
            "moving_mean": situation.moving_mean,
            "moving_var": situation.moving_var,
        }
        target: Choice[Target] = getattr(recipe, f"{name}_target")
        for x, after in steps:
            old = before[f"moving_{name}"]
            whole = target.value(summarize(recipe, x, before["moving_mean"])) - old
            way = after[f"moving_{name}"] - old
            weights.append(float(way @ whole / (whole @ whole)) if way.shape == old.shape else 0.0)
            before = after
        return weights

    def _moves(self, recipe: Recipe, name: str, steps: list[Step]) -> bool:
        """Return whether a moving statistic moves, step by step, as a recipe's does."""
        mean, var = self._situation.moving_mean, self._situation.moving_var
        for k, (x, after) in enumerate(steps, start=1):
            mean, var = move(recipe, x, mean, var, k)
            expected = mean if name == "mean" else var
            if distance(after[f"moving_{name}"], expected) > self._tolerance:
                return False
            mean, var = after["moving_mean"], after["moving_var"]
        return True

    # ---- the gradients

    def _gradients(self, part: str, recipe: Recipe) -> Formula:
        """Return the formula of a part with the gradients that were observed."""
        formula: Formula = getattr(recipe, part)
        trains = part == "training"
        seen = self._seen_where(trains, grads=(True,))
        if seen is None or part in self.unexplained:
            return formula
        backward = differentiate(recipe, formula, self._situation)
        slots = {
            "d_x": ("x_gradient", self._known.x_gradient),
            "d_gamma": ("gamma_gradient", gradients.GAMMA_GRADIENT),
            "d_beta": ("beta_gradient", gradients.BETA_GRADIENT),
        }
        changes: dict[str, Choice[gradients.Gradient]] = {}
        for name, gradient in seen.plain.gradients.items():
            slot, choices = slots[name]
            for choice in choices:
                if distance(gradient, choice.value(backward).detach()) <= self._tolerance:
                    changes[slot] = choice
                    break
            else:
                if name == "d_x" and (trains or not self._known.has_moving):
                    terms = gradients.terms_of(backward, gradient, self._tolerance)
                    changes |= {} if terms is None else {slot: terms}
        usual = self._known.usual_sources(trains)
        if formula.source not in usual and "x_gradient" in changes:
            # Statistics that are not the batch's own may well be constants: no fault of its own.
            changes["x_gradient"] = Choice(changes["x_gradient"].value)
        return formula.having(**changes)


class _Output:
    """An observed output; measures how far that of a formula is from it.

    A search tries thousands of formulas that have most parts in common: what they have in common
    is computed once.
    """

    def __init__(self, situation: Situation, seen: Pass) -> None:
        self._situation, self._y = situation, seen.y
        moving = seen.moving
        fits = bool(moving) and moving["moving_mean"].shape == situation.gamma.shape
        self._updated = (moving["moving_mean"], moving["moving_var"]) if fits else None
        self._statistics: dict[Any, Pair] = {}
        self._x_hat: dict[Any, Tensor] = {}

    def distance(self, formula: Formula) -> float:
        """Return the distance between the observed output and that of a formula."""
        x = self._situation.x
        gamma, beta = per_channel(self._situation.gamma, x), per_channel(self._situation.beta, x)
        x_hat = self._normalized(formula, formula.prepare.value(x, gamma, beta))
        return distance(self._y, formula.affine.value(x_hat, gamma, beta))

    def _normalized(self, formula: Formula, x: Tensor) -> Tensor:
        source = (formula.source, formula.over, formula.spread, formula.parts, formula.prepare)
        key = (*source, formula.centring, formula.denominator, formula.eps)
        if key not in self._x_hat:
            if source not in self._statistics:
                self._statistics[source] = statistics(formula, self._situation, x, self._updated)
            mean, var = self._statistics[source]
            denominator = formula.denominator.value(var, formula.eps.value)
            self._x_hat[key] = formula.centring.value(x, mean) / denominator
        return self._x_hat[key]


def _eps(value: float, ways: Ways) -> Choice[float]:
    return normalization.eps_of(value, ways.eps[0].value)


def _with_moving_deviation(recipe: Recipe) -> Recipe:
    """Return a recipe whose moving deviation is one fault, with all that follows from it.

    That is a correction meant for variances, eps in the average, and none beside it.
    """
    if recipe.var_update not in (AVERAGES_DEVIATION, AVERAGES_CORRECTED):
        return recipe
    update, target = recipe.var_update, recipe.var_target
    if target in (CORRECTED_TWICE, CORRECTED_DEVIATION):
        update, target = AVERAGES_CORRECTED, Choice(target.value)
    if recipe.predicting.denominator is not NO_EPS:
        return recipe.having(var_update=update, var_target=target)
    return recipe.having(
        var_update=update,
        var_target=Choice(HOLDS_EPS.value) if target is HOLDS_EPS else target,
        predicting=recipe.predicting.having(denominator=Choice(NO_EPS.value, update.fault)),
    )


def _moving_as(recipe: Recipe, other: Recipe, name: str) -> Recipe:
    """Return a recipe in which a moving statistic moves as it does in another."""
    slots = [f"{name}_target", f"{name}_update", *(["target_has_spread"] if name == "var" else [])]
    return recipe.having(**{slot: getattr(other, slot) for slot in slots})
