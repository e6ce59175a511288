"""The oracle: equal to torch in float64, and changed by every mistake that it can make."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bnrun.verification.distance import distance
from bnrun.verification.fault import Choice
from bnrun.verification.formula import (
    batch_statistics,
    gradients,
    modes,
    moving_statistics,
    normalization,
    spread,
)
from bnrun.verification.recipe import Recipe, deviations, move, right, simulate
from bnrun.verification.situations import (
    CHANNELS,
    ODD_SHAPES,
    SHAPES,
    faint,
    far,
    level,
    make_situation,
    plain,
    sequence,
)

FLOAT64 = torch.float64


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("kind", [plain, faint, level])
@pytest.mark.parametrize("training", [True, False])
def test_what_is_right_is_what_torch_computes(rank: int, kind: Any, training: bool) -> None:
    made = kind(rank, FLOAT64)
    x, gamma, beta = (t.clone().requires_grad_() for t in (made.x, made.gamma, made.beta))
    mean, var = made.moving_mean.clone(), made.moving_var.clone()
    y = F.batch_norm(x, mean, var, gamma, beta, training, 0.1, 1e-5)
    d_x, d_gamma, d_beta = torch.autograd.grad(y, (x, gamma, beta), made.g)
    played = simulate(Recipe(), made, training=training, grad=True)
    expected = {"y": y, "d_x": d_x, "d_gamma": d_gamma, "d_beta": d_beta}
    for name, value in (expected | {"moving_mean": mean, "moving_var": var}).items():
        assert distance(played[name], value.detach()) < 1e-9, name


def test_it_is_right_at_a_mean_of_a_million() -> None:
    made = far(2, FLOAT64)
    y = simulate(Recipe(), made, training=True, grad=False)["y"]
    exact = F.batch_norm(made.x - 1e6, None, None, made.gamma, made.beta, True)
    assert distance(y, exact) < 1e-9


@pytest.mark.parametrize("rank", [2, 4])
def test_updates_in_order_are_torchs(rank: int) -> None:
    steps = sequence(rank, FLOAT64)
    mean, var = steps[0].moving_mean, steps[0].moving_var
    torchs_mean, torchs_var = mean.clone(), var.clone()
    for k, made in enumerate(steps, start=1):
        F.batch_norm(made.x, torchs_mean, torchs_var, training=True)
        mean, var = move(Recipe(), made.x, mean, var, k)
        assert distance(mean, torchs_mean) < 1e-14
        assert distance(var, torchs_var) < 1e-14


def _played(recipe: Recipe) -> list[Tensor]:
    """All that a recipe does, in the situations in which norms are observed."""
    seen = []
    for rank, kind in itertools.product((2, 4), (plain, faint)):
        made = kind(rank, FLOAT64)
        for training, grad in itertools.product((True, False), repeat=2):
            seen += simulate(recipe, made, training=training, grad=grad).values()
        mean, var = made.moving_mean, made.moving_var
        for k, step in enumerate(sequence(rank, FLOAT64), start=1):
            mean, var = move(recipe, step.x, mean, var, k)
            seen += [mean, var]
    return seen


def _differ(first: list[Tensor], second: list[Tensor]) -> bool:
    pairs = zip(first, second, strict=True)
    return any(distance(one, other) > 1e-7 for one, other in pairs)


PARTS: list[tuple[str, str, Sequence[Choice[Any]]]] = [
    *(
        (part, slot, choices)
        for part in ("training", "predicting")
        for slot, choices in (
            ("centring", normalization.CENTRING),
            ("denominator", normalization.DENOMINATOR),
            ("eps", normalization.EPS),
            ("affine", normalization.AFFINE),
            ("gamma_gradient", gradients.GAMMA_GRADIENT),
            ("beta_gradient", gradients.BETA_GRADIENT),
        )
    ),
    ("training", "over", batch_statistics.OVER),
    ("training", "spread", spread.OF_A_BATCH),
    ("training", "parts", batch_statistics.PARTS),
    ("training", "source", batch_statistics.TRAINING_SOURCE),
    ("predicting", "source", batch_statistics.PREDICTING_SOURCE),
    ("", "mode", modes.MODES),
    ("", "moves", modes.MOVES),
    ("", "mean_target", moving_statistics.MEAN_TARGET),
    ("", "var_target", moving_statistics.VAR_TARGET),
    ("", "mean_update", moving_statistics.UPDATE),
    ("", "var_update", moving_statistics.VAR_UPDATE),
]


def _with(part: str, slot: str, choice: Choice[Any]) -> Recipe:
    recipe = Recipe()
    if not part:
        return recipe.having(**{slot: choice})
    return recipe.having(**{part: getattr(recipe, part).having(**{slot: choice})})


@pytest.mark.parametrize(
    ("part", "slot", "choices"), PARTS, ids=[f"{part} {slot}" for part, slot, _ in PARTS]
)
def test_any_two_ways_to_do_a_part_can_be_told_apart(
    part: str, slot: str, choices: Sequence[Choice[Any]]
) -> None:
    played = [_played(_with(part, slot, choice)) for choice in choices]
    for first, second in itertools.combinations(played, 2):
        assert _differ(first, second)


def test_gradients_of_x_can_be_told_apart_where_they_differ() -> None:
    """In training, the one that is a mistake when predicting alone is right."""
    in_training = [
        choice
        for choice in gradients.X_GRADIENT
        if choice.fault is None or choice.fault.name != "predicting-gradient-as-in-training"
    ]
    (other,) = set(gradients.X_GRADIENT) - set(in_training)
    played = [_played(_with("training", "x_gradient", choice)) for choice in in_training]
    for first, second in itertools.combinations(played, 2):
        assert _differ(first, second)
    assert _differ(_played(Recipe()), _played(_with("predicting", "x_gradient", other)))


def test_a_deviation_names_the_fault_and_gives_the_recipe_without_it() -> None:
    outside, biased = normalization.DENOMINATOR[1], moving_statistics.BIASED
    recipe = _with("training", "denominator", outside).having(var_target=biased)
    found = list(deviations(recipe, Recipe()))
    assert [(one.place, one.part, one.fault.name) for one in found] == [
        ("training", "denominator", "eps-outside-root"),
        ("", "var_target", "biased-moving-variance"),
    ]
    assert found[0].without == Recipe(var_target=biased)
    assert next(deviations(recipe, right("textbook"))).fault.name == "mode-follows-module"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_situations_hold_values_that_the_dtype_can_hold(dtype: torch.dtype) -> None:
    for made in (plain(4, dtype), faint(2, dtype), level(3, dtype), make_situation((2, 4), dtype)):
        for values in vars(made).values():
            assert torch.equal(values.to(dtype).double(), values)


def test_situations_are_the_same_every_time_and_hide_nothing() -> None:
    for rank, shape in SHAPES.items():
        made, again = plain(rank, FLOAT64), plain(rank, FLOAT64)
        assert all(torch.equal(v, vars(again)[name]) for name, v in vars(made).items())
        assert made.x.shape == shape
        assert len(set(shape)) == rank
        assert shape[1] == CHANNELS
        assert not (made.gamma == 1).any()
        assert (made.gamma < 0).any()
        for vector in (made.beta, made.moving_mean, made.moving_var - 1):
            assert (vector.abs() > 1e-3).all()
    assert not torch.equal(plain(4, FLOAT64).x, plain(4, FLOAT64, seed=1).x)
    assert len({len(shape) for shape in ODD_SHAPES}) == 2


def test_distances_count_what_is_not_finite() -> None:
    one, nan, inf = torch.tensor([1.0]), torch.tensor([torch.nan]), torch.tensor([torch.inf])
    assert distance(one, one + 0.5) == pytest.approx(1 / 3)
    assert distance(one, one * 0) == 1
    assert distance(nan, nan) == distance(inf, inf) == 0
    for first, second in itertools.permutations((one, nan, inf, -inf), 2):
        if not (first.isnan() or second.isnan()) or one in (first, second):
            assert distance(first, second) == torch.inf
    assert distance(one, torch.ones(2)) == torch.inf


def test_a_recipe_is_a_record() -> None:
    assert Recipe() == right("torch")
    assert dataclasses.replace(Recipe(), target_has_spread=True) != Recipe()
