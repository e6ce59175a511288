"""The search for the mistakes that give what was observed of inputs of one rank.

Part by part: the output, the moving statistics, the gradients. For each, the right way is tried,
then every one known mistake, then every two, every three.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from bnrun.verification.evidence import Evidence, distance
from bnrun.verification.known import batch_statistics, gradients, kept, momentum, normalization
from bnrun.verification.known.fault import Choice
from bnrun.verification.observe.experiment import Values
from bnrun.verification.recipe import Formula, Recipe, candidates, move, normalize, pieces_of, see
from bnrun.verification.situations import MAIN_RANKS, Situation, faint, plain, sequence

MOST_MISTAKES = 3  # in one part


class Search:
    """The search for the recipe of one rank, from the likely ones on.

    The first of these is the right one, in the mode that was found. `unexplained` names the parts
    of which no recipe gives what was observed.
    """

    def __init__(
        self, evidence: Evidence, rank: int, likely: Sequence[Recipe], tolerance: float, most: int
    ) -> None:
        self.unexplained: set[str] = set()
        self._evidence, self._rank = evidence, rank
        self._tolerance, self._most = tolerance, most
        self._likely, self._right = likely[::-1], likely[0]
        # What was seen after train() with gradients enabled, and after eval() in two ways.
        predicted = evidence.values(f"predicting {rank}")
        seen = {
            (True, True): evidence.values(f"training {rank}"),
            (False, False): predicted,
            (False, True): predicted and predicted["with_gradients"],
        }
        self._seen = {how: values for how, values in seen.items() if values is not None}

    def recipe(self) -> Recipe:
        """Return the recipe with the fewest mistakes that gives what was observed."""
        recipe = self._right
        training = self._formula("training", recipe)
        recipe = recipe.having(training=training)
        # Own statistics, where predicting takes any, are taken as in training.
        start = recipe.predicting.having(over=training.over, spread=training.spread)
        recipe = recipe.having(predicting=start)
        recipe = recipe.having(predicting=self._formula("predicting", recipe))
        if self._evidence.offers["moving"]:
            recipe = self._moving(recipe)
        for part in ("training", "predicting"):
            recipe = recipe.having(**{part: self._gradients(part, recipe)})
        return recipe

    # ---- the output

    def _formula(self, part: str, recipe: Recipe) -> Formula:
        """Return the formula of a part that gives the outputs seen, plain and faint."""
        start: Formula = getattr(recipe, part)
        trains = part == "training"
        seen = self._seen_where(trains, grads=(True, False))
        if seen is None:
            return start
        cases = [
            (self._evidence.situation(plain, self._rank), seen),
            (self._evidence.situation(faint, self._rank), seen["faint"]),
        ]

        def fits(formula: Formula) -> bool:
            return all(self._gives(formula, made, values) for made, values in cases)

        for likely in (getattr(recipe, part) for recipe in self._likely):
            if fits(likely):
                found: Formula = likely
                return found
        if not seen["y"].isfinite().any():  # which some mistake or other gives
            self.unexplained.add(part)
            return start
        known = batch_statistics
        slots: dict[str, Iterable[Choice[Any]]] = {
            "source": known.TRAINING_SOURCE if trains else known.PREDICTING_SOURCE,
            "over": known.OVER if trains else (),
            "spread": known.SPREAD if trains else (),
            "centring": normalization.CENTRING,
            "denominator": normalization.DENOMINATOR,
            "eps": self._eps(),
            "affine": normalization.AFFINE,
        }
        for candidate in candidates(start, slots, self._most):
            if fits(candidate):
                return candidate
        self.unexplained.add(part)
        return start

    def _gives(self, formula: Formula, made: Situation, values: Values) -> bool:
        moved = (
            (values["moving_mean"], values["moving_var"])
            if "moving_mean" in values and values["moving_mean"].shape == made.gamma.shape
            else None
        )
        y, _, _ = normalize(formula, made, made.x, made.gamma, made.beta, moved)
        return distance(values["y"], y) <= self._tolerance

    def _seen_where(self, trains: bool, grads: Sequence[bool]) -> Values | None:
        """Return what was seen in a mode, with gradients enabled or not as preferred."""
        for grad in grads:
            for training in (trains, not trains):
                seen = self._seen.get((training, grad))
                if seen is not None and self._right.mode.does(training, grad) == trains:
                    return seen
        return None

    def _eps(self) -> Iterator[Choice[float]]:
        yield from normalization.EPS
        stated = self._evidence.offers["eps"]
        if stated is not None and all(stated != known.does for known in normalization.EPS):
            yield normalization.eps_of(stated)

    # ---- the moving statistics

    def _moving(self, recipe: Recipe) -> Recipe:
        steps = self._steps()
        if not steps:
            return recipe
        # One step tells less than several: other ranks move as the main ones do, or not at all.
        alone = self._rank == self._evidence.rank or self._rank in MAIN_RANKS
        for name, known in (("mean", kept.KEPT_MEAN), ("var", kept.KEPT_VAR)):
            ways = itertools.chain(
                (_moving_as(recipe, likely, name) for likely in self._likely),
                self._ways(recipe, name, known, steps) if alone else (),
            )
            fitting = (way for way in ways if self._moves(way, name, steps))
            found = next(fitting, None)
            if found is None:
                self.unexplained.add(f"moving {name}")
            else:
                recipe = found
        return recipe

    def _steps(self) -> list[tuple[Tensor, Values]]:
        """Return batches that moved the moving statistics, each with those after it."""
        x = self._evidence.situation(plain, self._rank).x
        if not self._right.moves.does(True):
            seen = self._seen_where(False, grads=(False, True))
            return [] if seen is None else [(x, seen)]
        if self._right.mode.does(True, True) and self._rank in MAIN_RANKS:
            updates = self._evidence.values(f"updates {self._rank}")
            if updates is not None:
                batches = [made.x for made in sequence(self._rank, self._evidence.dtype)]
                return list(zip(batches, updates["after"], strict=True))
        seen = self._seen_where(True, grads=(True, False))
        return [] if seen is None else [(x, seen)]

    def _ways(
        self,
        recipe: Recipe,
        name: str,
        known: Sequence[Choice[kept.Kept]],
        steps: list[tuple[Tensor, Values]],
    ) -> Iterator[Recipe]:
        """Yield the recipes that differ in how a moving statistic moves, the likeliest first."""
        right_kept: Choice[kept.Kept] = getattr(self._right, f"kept_{name}")
        ordered = [right_kept, *(choice for choice in known if choice is not right_kept)]
        # A variance may be kept as it normalizes, with the mistake that is in that.
        faulty = recipe.training.spread is not batch_statistics.SPREAD[0]
        spreads = [False, True] if faulty and name == "var" else [False]
        keeping = [
            recipe.having(**{f"kept_{name}": keeps, "keeps_spread": recipe.keeps_spread or spread})
            for keeps, spread in itertools.product(ordered, spreads)
        ]
        as_right = keeping[: len(spreads)]
        usual, *others = momentum.UPDATE
        for ways, updates in itertools.product((as_right, keeping), ([usual], others)):
            for way, update in itertools.product(ways, updates):
                yield way.having(**{f"{name}_update": update})
            if updates is others:
                for way in ways:
                    weight = self._weight(way, name, steps[0])
                    yield way.having(**{f"{name}_update": momentum.weight_of(weight)})

    def _weight(self, recipe: Recipe, name: str, step: tuple[Tensor, Values]) -> float:
        """Return the weight of a new batch that the first step shows."""
        old = self._old(name)
        keeps: Choice[kept.Kept] = getattr(recipe, f"kept_{name}")
        way = keeps.does(see(recipe, step[0], self._old("mean"))) - old
        gone = step[1][f"moving_{name}"] - old
        return float(gone @ way / (way @ way)) if gone.shape == way.shape else 0.0

    def _moves(self, recipe: Recipe, name: str, steps: list[tuple[Tensor, Values]]) -> bool:
        mean, var = self._old("mean"), self._old("var")
        for k, (x, values) in enumerate(steps, start=1):
            mean, var = move(recipe, x, mean, var, k)
            expected = mean if name == "mean" else var
            if distance(values[f"moving_{name}"], expected) > self._tolerance:
                return False
            mean, var = values["moving_mean"], values["moving_var"]
        return True

    def _old(self, name: str) -> Tensor:
        made = self._evidence.situation(plain, self._rank)
        return made.moving_mean if name == "mean" else made.moving_var

    # ---- the gradients

    def _gradients(self, part: str, recipe: Recipe) -> Formula:
        """Return the formula of a part with those gradients that were seen."""
        formula: Formula = getattr(recipe, part)
        trains = part == "training"
        seen = self._seen_where(trains, grads=(True,))
        if seen is None or part in self.unexplained:
            return formula
        pieces = pieces_of(recipe, formula, self._evidence.situation(plain, self._rank))
        slots = {
            "d_x": ("x_gradient", gradients.X_GRADIENT),
            "d_gamma": ("gamma_gradient", gradients.GAMMA_GRADIENT),
            "d_beta": ("beta_gradient", gradients.BETA_GRADIENT),
        }
        changes: dict[str, Any] = {}
        for key, (slot, choices) in slots.items():
            if key not in seen:
                continue
            for choice in choices:
                if distance(seen[key], choice.does(pieces).detach()) <= self._tolerance:
                    changes[slot] = choice
                    break
        if trains and formula.source is not batch_statistics.BY_BATCH and "x_gradient" in changes:
            # Statistics that are not the batch's own may well be constants: no fault of its own.
            changes["x_gradient"] = Choice(changes["x_gradient"].does)
        return formula.having(**changes)


def _moving_as(recipe: Recipe, other: Recipe, name: str) -> Recipe:
    """Return a recipe in which a moving statistic moves as it does in another."""
    slots = [f"kept_{name}", f"{name}_update", *(["keeps_spread"] if name == "var" else [])]
    return recipe.having(**{slot: getattr(other, slot) for slot in slots})
