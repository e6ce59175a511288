"""A whole BatchNorm as the choices it is made of: the right one, and any mistaken one.

What a recipe does can be played, in float64, in any situation. That is the oracle that an
implementation is held to; and, played with a known mistake in it, the evidence for that mistake.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnrun.verification.known import (
    batch_statistics,
    gradients,
    kept,
    modes,
    momentum,
    normalization,
)
from bnrun.verification.known.fault import Choice, Fault
from bnrun.verification.report import Contract
from bnrun.verification.situations import Situation


@dataclass(frozen=True)
class Formula:
    """One way to normalize, in training or when predicting, with its gradients."""

    source: Choice[batch_statistics.Source]
    over: Choice[Callable[[int], batch_statistics.Dims]] = batch_statistics.OVER[0]
    spread: Choice[Callable[[Tensor, Tensor, batch_statistics.Dims], Tensor]] = (
        batch_statistics.SPREAD[0]
    )
    centring: Choice[Callable[[Tensor, Tensor], Tensor]] = normalization.CENTRING[0]
    denominator: Choice[Callable[[Tensor, float], Tensor]] = normalization.DENOMINATOR[0]
    eps: Choice[float] = normalization.EPS[0]
    affine: Choice[Callable[[Tensor, Tensor, Tensor], Tensor]] = normalization.AFFINE[0]
    x_gradient: Choice[gradients.Gradient] = gradients.X_GRADIENT[0]
    gamma_gradient: Choice[gradients.Gradient] = gradients.GAMMA_GRADIENT[0]
    beta_gradient: Choice[gradients.Gradient] = gradients.BETA_GRADIENT[0]

    def having(self, **parts: Any) -> "Formula":
        """Return a formula with other choices for some parts."""
        return dataclasses.replace(self, **parts)


@dataclass(frozen=True)
class Recipe:
    """Everything that a BatchNorm does with its input.

    `keeps_spread`: whether the variance that is kept comes from the one that normalizes (with its
    mistake, if it has one) or from a right one taken apart.
    """

    mode: Choice[modes.Mode] = modes.BY_MODULE
    moves: Choice[Callable[[bool], bool]] = modes.MOVES[0]
    training: Formula = Formula(batch_statistics.BY_BATCH)
    predicting: Formula = Formula(batch_statistics.BY_MOVING)
    kept_mean: Choice[kept.Kept] = kept.KEPT_MEAN[0]
    kept_var: Choice[kept.Kept] = kept.KEPT_VAR[0]
    mean_update: Choice[momentum.Update] = momentum.UPDATE[0]
    var_update: Choice[momentum.Update] = momentum.UPDATE[0]
    keeps_spread: bool = False

    def having(self, **parts: Any) -> "Recipe":
        """Return a recipe with other choices for some parts."""
        return dataclasses.replace(self, **parts)

    def formula(self, training: bool, grad: bool) -> Formula:
        """Return what normalizes after train() or eval(), with gradients enabled or not."""
        return self.training if self.mode.does(training, grad) else self.predicting


def right(contract: Contract) -> Recipe:
    """Return the recipe that a contract calls right."""
    if contract == "textbook":
        return Recipe(mode=modes.BY_GRADIENTS, kept_var=kept.BIASED)
    return Recipe()


def deviations(recipe: Recipe, reference: Recipe) -> Iterator[tuple[str, Fault, Recipe]]:
    """Yield where a recipe departs from another: the place, the fault, and the recipe without it.

    Places are "training" and "predicting" for parts of a formula, else the part's own name.
    """
    for place, part in _parts(recipe):
        ours, theirs = getattr(recipe, place), getattr(reference, place)
        if isinstance(ours, Formula):
            mine, other = getattr(ours, part), getattr(theirs, part)
            if mine is not other and mine.fault is not None:
                yield place, mine.fault, recipe.having(**{place: ours.having(**{part: other})})
        elif isinstance(ours, Choice) and ours is not theirs and ours.fault is not None:
            yield place, ours.fault, recipe.having(**{place: theirs})


def _parts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        parts = dataclasses.fields(value) if isinstance(value, Formula) else ()
        yield from ((field.name, part.name) for part in parts)
        if not parts:
            yield field.name, ""


def candidates(
    start: Formula, slots: Mapping[str, Iterable[Choice[Any]]], most: int
) -> Iterator[Formula]:
    """Yield the formulas that differ from one in a part, then in two, up to `most`."""
    others = {
        slot: [choice for choice in choices if choice is not getattr(start, slot)]
        for slot, choices in slots.items()
    }
    for many in range(1, most + 1):
        for names in itertools.combinations(others, many):
            for picked in itertools.product(*(others[name] for name in names)):
                yield start.having(**dict(zip(names, picked, strict=True)))


# ---- playing it


def normalize(
    formula: Formula,
    situation: Situation,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    moved: batch_statistics.Pair | None = None,
    constant: Iterable[str] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, and of it x - mean and the denominator.

    `moved` are the moving statistics after this batch, of shape (C,). Statistics named in
    `constant` ("mean", "var") are cut out of autograd's graph.
    """
    shape = (1, -1, *[1] * (x.dim() - 2))
    dims = formula.over.does(x.dim())
    own_mean = x.mean(dims, keepdim=True)
    own = (own_mean, formula.spread.does(x, own_mean, dims))
    held = (situation.moving_mean.view(shape), situation.moving_var.view(shape))
    after = held if moved is None else (moved[0].view(shape), moved[1].view(shape))
    mean, var = formula.source.does(own, held, after)
    mean = mean.detach() if "mean" in constant else mean
    var = var.detach() if "var" in constant else var
    centred = formula.centring.does(x, mean)
    denominator = formula.denominator.does(var, formula.eps.does)
    y = formula.affine.does(centred / denominator, gamma.view(shape), beta.view(shape))
    return y, centred, denominator


def move(recipe: Recipe, x: Tensor, mean: Tensor, var: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Return the moving statistics after x, the k-th batch. All are of shape (C,)."""
    seen = see(recipe, x, mean)
    return (
        recipe.mean_update.does(mean, recipe.kept_mean.does(seen), k),
        recipe.var_update.does(var, recipe.kept_var.does(seen), k),
    )


def see(recipe: Recipe, x: Tensor, moving_mean: Tensor) -> kept.Seen:
    """Return what a batch has to offer to the moving statistics of a recipe."""
    formula = recipe.training
    dims = formula.over.does(x.dim())
    mean = x.mean(dims, keepdim=True)
    spread = formula.spread if recipe.keeps_spread else batch_statistics.SPREAD[0]
    channels = x.shape[1]

    def by_channel(values: Tensor) -> Tensor:
        """Average down to (C,) what other dimensions than the channels' are left of."""
        if values.dim() != x.dim():
            return values.expand(channels)
        rest = [dim for dim in range(values.dim()) if dim != 1]
        return values.mean(rest).expand(channels)

    about = (x - moving_mean.view(1, -1, *[1] * (x.dim() - 2))).square()
    return kept.Seen(
        mean=by_channel(mean),
        var=by_channel(spread.does(x, mean, dims)),
        n=batch_statistics.count(x, batch_statistics.OVER[0].does(x.dim())),
        batch=x.shape[0],
        squares=by_channel(x.square()),
        about_moving=by_channel(about),
        eps=formula.eps.does,
    )


@functools.lru_cache(maxsize=1024)  # what is right is asked for again and again
def play(recipe: Recipe, situation: Situation, *, training: bool, grad: bool) -> dict[str, Tensor]:
    """Return y, the gradients and the moving statistics after one forward pass, in float64.

    Keys: y, d_x, d_gamma, d_beta, moving_mean, moving_var. Without `grad`, no gradients.
    """
    trains = recipe.mode.does(training, grad)
    formula = recipe.formula(training, grad)
    moved = move(recipe, situation.x, situation.moving_mean, situation.moving_var)
    held = (situation.moving_mean, situation.moving_var)
    mean, var = moved if recipe.moves.does(trains) else held
    played = {"moving_mean": mean, "moving_var": var}
    if not grad:
        y, _, _ = normalize(formula, situation, situation.x, situation.gamma, situation.beta, moved)
        return played | {"y": y}
    pieces = pieces_of(recipe, formula, situation)
    return played | {
        "y": pieces.y,
        "d_x": formula.x_gradient.does(pieces).detach(),
        "d_gamma": formula.gamma_gradient.does(pieces).detach(),
        "d_beta": formula.beta_gradient.does(pieces).detach(),
    }


def pieces_of(recipe: Recipe, formula: Formula, situation: Situation) -> gradients.Pieces:
    """Return what a backward pass of one of a recipe's formulas works with."""
    with torch.enable_grad():
        x, gamma, beta = (
            t.detach().requires_grad_() for t in (situation.x, situation.gamma, situation.beta)
        )
        moved = move(recipe, x, situation.moving_mean, situation.moving_var)
        y, centred, denominator = normalize(formula, situation, x, gamma, beta, moved)
        d_gamma, d_beta = torch.autograd.grad(
            y, (gamma, beta), situation.g, retain_graph=True, materialize_grads=True
        )

        def d_x(constant: Iterable[str] = (), *, unscaled: bool = False) -> Tensor:
            scale = torch.ones_like(gamma) if unscaled else gamma
            with torch.enable_grad():
                y, _, _ = normalize(formula, situation, x, scale, beta, moved, constant)
            (gradient,) = torch.autograd.grad(
                y, x, situation.g, retain_graph=True, materialize_grads=True
            )
            return gradient

    return gradients.Pieces(
        x=situation.x,
        y=y.detach(),
        g=situation.g,
        gamma=situation.gamma.view(1, -1, *[1] * (situation.x.dim() - 2)),
        centred=centred.detach(),
        denominator=denominator.detach(),
        dims=formula.over.does(situation.x.dim()),
        d_x=d_x,
        d_gamma=d_gamma,
        d_beta=d_beta,
    )
