"""A norm as one choice for each of its parts: the right recipe, and any mistaken one.

A recipe can be simulated, in float64, in any situation. The right one is the oracle that an
implementation is compared with. One with a known mistake is the evidence for that mistake.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnrun.verification.fault import Choice, Fault
from bnrun.verification.formula import (
    batch_statistics,
    gradients,
    modes,
    moving_statistics,
    normalization,
)
from bnrun.verification.formula.axes import Axes
from bnrun.verification.formula.families import BATCH, Ways
from bnrun.verification.formula.spread import SPREAD, Spread
from bnrun.verification.report import Contract
from bnrun.verification.situations import Situation, per_channel

CACHED_SIMULATIONS = 1024
"""Simulations whose results are cached: the right recipe is needed again and again."""


@dataclass(frozen=True)
class Formula:
    """One way to normalize, in training or when predicting, with its gradients."""

    source: Choice[batch_statistics.Source]
    over: Choice[Axes] = batch_statistics.OVER[0]
    spread: Choice[Spread] = SPREAD[0]
    parts: Choice[int] = batch_statistics.PARTS[0]
    prepare: Choice[normalization.Prepare] = normalization.PREPARE[0]
    centring: Choice[normalization.Centring] = normalization.CENTRING[0]
    denominator: Choice[normalization.Denominator] = normalization.DENOMINATOR[0]
    eps: Choice[float] = normalization.EPS[0]
    affine: Choice[normalization.Affine] = normalization.AFFINE[0]
    x_gradient: Choice[gradients.Gradient] = gradients.X_GRADIENT[0]
    gamma_gradient: Choice[gradients.Gradient] = gradients.GAMMA_GRADIENT[0]
    beta_gradient: Choice[gradients.Gradient] = gradients.BETA_GRADIENT[0]

    def having(self, **parts: Any) -> "Formula":
        """Return the formula with other choices for some parts."""
        return dataclasses.replace(self, **parts)


@dataclass(frozen=True)
class Recipe:
    """Everything that a norm does with its input.

    `has_moving`: whether it has moving statistics.
    `target_has_spread`: whether the variance that the moving variance averages is the one that
    normalizes (with its mistake, if it has one), or a right one computed separately.
    """

    mode: Choice[modes.Mode] = modes.BY_MODULE
    moves: Choice[modes.Moves] = modes.MOVES[0]
    training: Formula = Formula(batch_statistics.BY_BATCH)
    predicting: Formula = Formula(batch_statistics.BY_MOVING)
    mean_target: Choice[moving_statistics.Target] = moving_statistics.MEAN_TARGET[0]
    var_target: Choice[moving_statistics.Target] = moving_statistics.VAR_TARGET[0]
    mean_update: Choice[moving_statistics.Update] = moving_statistics.UPDATE[0]
    var_update: Choice[moving_statistics.Update] = moving_statistics.UPDATE[0]
    target_has_spread: bool = False
    has_moving: bool = True

    def having(self, **parts: Any) -> "Recipe":
        """Return the recipe with other choices for some parts."""
        return dataclasses.replace(self, **parts)

    def formula(self, training: bool, grad: bool) -> Formula:
        """Return what normalizes after train() or eval(), with gradients enabled or not."""
        return self.training if self.mode.value(training, grad) else self.predicting


def right(contract: Contract, ways: Ways = BATCH) -> Recipe:
    """Return the recipe that is right by a contract, in the family with these ways."""
    if not ways.has_moving:
        formula = Formula(
            source=ways.training_source[0],
            over=ways.over[0],
            spread=ways.spread[0],
            centring=ways.centring[0],
            eps=ways.eps[0],
        )
        return Recipe(training=formula, predicting=formula, has_moving=False)
    if contract == "textbook":
        return Recipe(mode=modes.BY_GRADIENTS, var_target=moving_statistics.BIASED)
    return Recipe()


@dataclass(frozen=True)
class Deviation:
    """A mistake in a recipe.

    `place` is "training" or "predicting" for a part of a formula, else "". `part` is the name of
    the part, and `without` the recipe with that part right.
    """

    place: str
    part: str
    fault: Fault
    without: Recipe


def deviations(recipe: Recipe, reference: Recipe) -> Iterator[Deviation]:
    """Yield where a recipe departs from another, apart from what is never wrong."""
    for field in dataclasses.fields(recipe):
        ours, theirs = getattr(recipe, field.name), getattr(reference, field.name)
        if isinstance(ours, Formula):
            for part in dataclasses.fields(ours):
                mine, other = getattr(ours, part.name), getattr(theirs, part.name)
                if mine is not other and mine.fault is not None:
                    without = recipe.having(**{field.name: ours.having(**{part.name: other})})
                    yield Deviation(field.name, part.name, mine.fault, without)
        elif isinstance(ours, Choice) and ours is not theirs and ours.fault is not None:
            yield Deviation("", field.name, ours.fault, recipe.having(**{field.name: theirs}))


def candidates(
    start: Formula, slots: Mapping[str, Iterable[Choice[Any]]], most: int
) -> Iterator[Formula]:
    """Yield the formulas that differ from one in a single part, then in two, up to `most`.

    Rare choices are yielded alone: they would multiply what is to be tried.
    """
    others = {
        slot: [choice for choice in choices if choice is not getattr(start, slot)]
        for slot, choices in slots.items()
    }
    for many in range(1, most + 1):
        if many == 2:
            others = {slot: [c for c in picks if not c.rare] for slot, picks in others.items()}
        for names in itertools.combinations(others, many):
            for picked in itertools.product(*(others[name] for name in names)):
                yield start.having(**dict(zip(names, picked, strict=True)))


# ---- simulation


def statistics(
    formula: Formula, situation: Situation, x: Tensor, updated: batch_statistics.Pair | None = None
) -> batch_statistics.Pair:
    """Return the mean and variance that normalize x, of a shape that broadcasts over it.

    `updated` are the moving statistics after this batch, of shape (C,).
    """
    own = _own_statistics(formula, x)
    moving = (per_channel(situation.moving_mean, x), per_channel(situation.moving_var, x))
    after = moving
    if updated is not None:
        after = (per_channel(updated[0], x), per_channel(updated[1], x))
    return formula.source.value(own, moving, after)


def _own_statistics(formula: Formula, x: Tensor) -> batch_statistics.Pair:
    """Return the mean and variance of a batch, or for each example those of its part of it."""
    axes = formula.over.value
    pairs = []
    for part in x.chunk(formula.parts.value):
        mean = axes.mean(part)
        pairs.append((mean, formula.spread.value(part, mean, axes)))
    if len(pairs) == 1:
        return pairs[0]
    sizes = [len(part) for part in x.chunk(formula.parts.value)]
    mean, var = (
        torch.cat([one.expand(n, *one.shape[1:]) for one, n in zip(kind, sizes, strict=True)])
        for kind in zip(*pairs, strict=True)
    )
    return mean, var


def normalize(
    formula: Formula,
    situation: Situation,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    updated: batch_statistics.Pair | None = None,
    constant: Iterable[str] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, and with it x - mean and the denominator.

    Statistics named in `constant` ("mean", "var") are detached from autograd's graph.
    """
    x = formula.prepare.value(x, per_channel(gamma, x), per_channel(beta, x))
    mean, var = statistics(formula, situation, x, updated)
    mean = mean.detach() if "mean" in constant else mean
    var = var.detach() if "var" in constant else var
    centred = formula.centring.value(x, mean)
    denominator = formula.denominator.value(var, formula.eps.value)
    y = formula.affine.value(centred / denominator, per_channel(gamma, x), per_channel(beta, x))
    return y, centred, denominator


def move(recipe: Recipe, x: Tensor, mean: Tensor, var: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Return the moving statistics after x, the k-th batch. All have shape (C,)."""
    batch = summarize(recipe, x, mean)
    return (
        recipe.mean_update.value(mean, recipe.mean_target.value(batch), k),
        recipe.var_update.value(var, recipe.var_target.value(batch), k),
    )


def summarize(recipe: Recipe, x: Tensor, moving_mean: Tensor) -> moving_statistics.BatchSummary:
    """Return the statistics of a batch that a recipe's moving statistics may move towards."""
    formula = recipe.training
    return moving_statistics.BatchSummary(
        x,
        moving_mean,
        formula.over.value,
        (formula.spread if recipe.target_has_spread else SPREAD[0]).value,
        formula.eps.value,
    )


@functools.lru_cache(maxsize=CACHED_SIMULATIONS)
def simulate(
    recipe: Recipe,
    situation: Situation,
    *,
    training: bool,
    grad: bool,
    gradients: bool = True,
) -> dict[str, Tensor]:
    """Return y, the gradients and the moving statistics after one forward pass, in float64.

    Keys: y, d_x, d_gamma, d_beta and, if it has any, moving_mean and moving_var. Without `grad`, no
    gradients; nor with `gradients` false.
    """
    trains = recipe.mode.value(training, grad)
    formula = recipe.formula(training, grad)
    updated, moving = None, {}
    if recipe.has_moving:
        updated = move(recipe, situation.x, situation.moving_mean, situation.moving_var)
        before = (situation.moving_mean, situation.moving_var)
        mean, var = updated if recipe.moves.value(trains) else before
        moving = {"moving_mean": mean, "moving_var": var}
    if not (grad and gradients):
        x, gamma, beta = situation.x, situation.gamma, situation.beta
        return moving | {"y": normalize(formula, situation, x, gamma, beta, updated)[0]}
    backward = differentiate(recipe, formula, situation)
    return moving | {
        "y": backward.y,
        "d_x": formula.x_gradient.value(backward).detach(),
        "d_gamma": formula.gamma_gradient.value(backward).detach(),
        "d_beta": formula.beta_gradient.value(backward).detach(),
    }


def differentiate(recipe: Recipe, formula: Formula, situation: Situation) -> gradients.BackwardPass:
    """Return what a backward pass through one of a recipe's formulas works with."""
    # Of the recipe, it takes how the moving statistics move: other parts would only miss the cache.
    moves = dataclasses.replace(
        recipe, mode=modes.BY_MODULE, moves=modes.MOVES[0], predicting=Recipe.predicting
    )
    return _differentiate(
        moves.having(training=_with_right_gradients(moves.training)),
        _with_right_gradients(formula),
        situation,
    )


def _with_right_gradients(formula: Formula) -> Formula:
    return formula.having(
        x_gradient=Formula.x_gradient,
        gamma_gradient=Formula.gamma_gradient,
        beta_gradient=Formula.beta_gradient,
    )


@functools.lru_cache(maxsize=CACHED_SIMULATIONS)
def _differentiate(
    recipe: Recipe, formula: Formula, situation: Situation
) -> gradients.BackwardPass:
    with torch.enable_grad():
        x, gamma, beta = (
            t.detach().requires_grad_() for t in (situation.x, situation.gamma, situation.beta)
        )
        updated = None
        if recipe.has_moving:
            updated = move(recipe, x, situation.moving_mean, situation.moving_var)
        y, centred, denominator = normalize(formula, situation, x, gamma, beta, updated)
        d_gamma, d_beta = torch.autograd.grad(
            y, (gamma, beta), situation.g, retain_graph=True, materialize_grads=True
        )

        @functools.cache
        def d_x(constant: tuple[str, ...] = (), *, unscaled: bool = False) -> Tensor:
            scale = torch.ones_like(gamma) if unscaled else gamma
            with torch.enable_grad():
                y, _, _ = normalize(formula, situation, x, scale, beta, updated, constant)
            (gradient,) = torch.autograd.grad(
                y, x, situation.g, retain_graph=True, materialize_grads=True
            )
            return gradient

    return gradients.BackwardPass(
        x=situation.x,
        y=y.detach(),
        g=situation.g,
        gamma=per_channel(situation.gamma, situation.x),
        centred=centred.detach(),
        denominator=denominator.detach(),
        axes=formula.over.value,
        d_x=d_x,
        d_gamma=d_gamma,
        d_beta=d_beta,
    )
