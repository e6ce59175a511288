"""The diagnosis: which known mistakes, together, give exactly the numbers that were observed.

First what switches the mode; then, for each rank of input, the search of `search.py`. What fits is
the evidence; the source is never read.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.verification.evidence import TOLERANCE, Evidence
from bnrun.verification.known import modes
from bnrun.verification.known.fault import Choice
from bnrun.verification.observe.experiment import Values
from bnrun.verification.recipe import Recipe
from bnrun.verification.search import MOST_MISTAKES, Search
from bnrun.verification.situations import MAIN_RANKS

OUTPUTS = {"training", "predicting"}


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        recipes: by rank of input, what reproduces the observations.
        tolerance: how closely they do.
        narrowed: whether that is in float32 only, though float64 was asked for.
        unexplained: (part, rank) that no known mistake explains; parts are "training",
            "predicting" (their outputs), "moving mean", "moving var".
    """

    recipes: Mapping[int, Recipe]
    tolerance: float
    narrowed: bool
    unexplained: frozenset[tuple[str, int]]


def diagnose(evidence: Evidence, right: Recipe) -> Diagnosis:
    """Return the fewest known mistakes, from what is right, that give what was observed."""
    usual, narrow = evidence.tolerance, TOLERANCE[torch.float32]
    # One mistake, and float32 somewhere, is likelier than two mistakes, and much sooner found.
    efforts = [(usual, 1), (narrow, 1), (usual, MOST_MISTAKES), (narrow, MOST_MISTAKES - 1)]
    first = _diagnose(evidence, right, *efforts[0])
    found = first
    for tolerance, most in [] if evidence.noise else efforts[1:]:
        if not any(part in OUTPUTS for part, _ in found.unexplained):
            return found
        if tolerance == usual or evidence.dtype == torch.float64:
            found = _diagnose(evidence, right, tolerance, most)
    return first if any(part in OUTPUTS for part, _ in found.unexplained) else found


def _diagnose(evidence: Evidence, right: Recipe, tolerance: float, most: int) -> Diagnosis:
    mode, moves = _mode(evidence, right)
    recipes: dict[int, Recipe] = {}
    unexplained: set[tuple[str, int]] = set()
    likely = [right.having(mode=mode, moves=moves)]
    for rank in evidence.ranks:
        # What is wrong for the main ranks alike is likely for others: no long search there.
        search = Search(evidence, rank, likely, tolerance, most if rank in MAIN_RANKS else 1)
        recipes[rank] = search.recipe()
        unexplained |= {(part, rank) for part in search.unexplained}
        likely.append(recipes[rank])
    narrowed = tolerance > evidence.tolerance
    return Diagnosis(recipes, tolerance, narrowed, frozenset(unexplained))


def uses(values: Values, what: str) -> list[bool]:
    """Return, of what "modes" observed, "own" or "moved" in each combination, in one order."""
    return [values[f"{training} {grad}"][what] for training, grad in COMBINATIONS]


COMBINATIONS = list(itertools.product((True, False), repeat=2))  # of training and grad


def _mode(evidence: Evidence, right: Recipe) -> tuple[Choice[modes.Mode], Choice[Any]]:
    """Return what switches the mode, and whether the moving statistics move outside training.

    The batch's own statistics may be used always, or never, whatever the mode; so may the moving
    statistics move. Each of these, and each mode but the right one, is a mistake to be explained.
    """
    values = evidence.values("modes")
    if values is None:
        return right.mode, right.moves
    own, moved = uses(values, "own"), uses(values, "moved")
    found, fewest = right.mode, 9
    for mode in (right.mode, *modes.MODES):
        trains = [mode.does(training, grad) for training, grad in COMBINATIONS]
        seen = [own, moved] if evidence.offers["moving"] else [own]
        not_trains = [not does for does in trains]
        if own != trains and len(set(own)) > 1:
            continue
        if moved not in (trains, not_trains) and len(set(moved)) > 1 and evidence.offers["moving"]:
            continue
        mistakes = (mode is not right.mode) + sum(switch != trains for switch in seen)
        if mistakes < fewest:
            found, fewest = mode, mistakes
    trains = [found.does(training, grad) for training, grad in COMBINATIONS]
    usual, always, outside = modes.MOVES
    if moved == [not does for does in trains] and any(moved):
        return found, outside
    return found, always if all(moved) and not all(trains) else usual
