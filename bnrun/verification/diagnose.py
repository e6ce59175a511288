"""The diagnosis: the fewest known mistakes that, together, give the numbers that were observed.

First what switches the mode; then, for each rank of input, the search of `search.py`. The numbers
are the evidence: the source is never read.
"""

import torch

from bnrun.verification.check import Diagnosis
from bnrun.verification.distance import TOLERANCE
from bnrun.verification.evidence import Evidence
from bnrun.verification.fault import Choice
from bnrun.verification.formula import modes
from bnrun.verification.recipe import Recipe
from bnrun.verification.search import MOST_MISTAKES, Search
from bnrun.verification.topics.switching import COMBINATIONS, Switches, switches

OUTPUTS = {"training", "predicting"}


def diagnose(evidence: Evidence, right: Recipe) -> Diagnosis:
    """Return the fewest known mistakes, starting from what is right, that give the observations."""
    usual, narrow = evidence.rounding, TOLERANCE[torch.float32]
    # One mistake, and float32 somewhere, is likelier than two mistakes, and found much sooner.
    efforts = [(usual, 1), (narrow, 1), (usual, MOST_MISTAKES), (narrow, MOST_MISTAKES - 1)]
    if not evidence.ways.has_moving:  # where many a layer computes in another dtype by choice
        efforts.insert(2, (TOLERANCE[torch.float16], 0))
    first = diagnosis = _diagnose(evidence, right, *efforts[0])
    for tolerance, most in [] if evidence.noisy else efforts[1:]:
        if _explains_outputs(diagnosis):
            return diagnosis
        if tolerance == usual or evidence.dtype == torch.float64:
            diagnosis = _diagnose(evidence, right, tolerance, most)
    return diagnosis if _explains_outputs(diagnosis) else first


def _explains_outputs(diagnosis: Diagnosis) -> bool:
    return not any(part in OUTPUTS for part, _ in diagnosis.unexplained)


def _diagnose(evidence: Evidence, right: Recipe, tolerance: float, most: int) -> Diagnosis:
    mode, moves = _mode(evidence, right)
    recipes: dict[int, Recipe] = {}
    unexplained: set[tuple[str, int]] = set()
    likely = [right.having(mode=mode, moves=moves)]
    main = evidence.construction.main_ranks
    for rank in evidence.ranks:
        # What is wrong for both main ranks is likely for others: no long search there.
        search = Search(evidence, rank, likely, tolerance, most if rank in main else 1)
        recipes[rank] = search.recipe()
        unexplained |= {(part, rank) for part in search.unexplained}
        likely.append(recipes[rank])
    narrowed = tolerance > evidence.rounding
    return Diagnosis(recipes, tolerance, narrowed, frozenset(unexplained))


def _mode(evidence: Evidence, right: Recipe) -> tuple[Choice[modes.Mode], Choice[modes.Moves]]:
    """Return what switches the mode, and whether the moving statistics move outside training.

    The batch's own statistics may be used always, or never, in any mode; and the moving statistics
    may always or never move. Each of these, and each mode but the right one, is a mistake.
    """
    record = evidence.record(switches) if evidence.ways.has_moving else None
    if record is None:
        return right.mode, right.moves
    has_moving = evidence.parts.moves
    mode = min(
        (right.mode, *modes.MODES), key=lambda mode: _mistakes(mode, right, record, has_moving)
    )
    trains = _trains(mode)
    usual, always, outside = modes.MOVES
    if record.moves == [not does for does in trains] and any(record.moves):
        return mode, outside
    return mode, always if all(record.moves) and not all(trains) else usual


IMPOSSIBLE = 9
"""More mistakes than any mode can have."""


def _trains(mode: Choice[modes.Mode]) -> list[bool]:
    return [mode.value(training, grad) for training, grad in COMBINATIONS]


def _mistakes(mode: Choice[modes.Mode], right: Recipe, record: Switches, has_moving: bool) -> int:
    """Return how many mistakes a mode needs to give what was seen."""
    trains = _trains(mode)
    moves = record.moves
    # What is used by way of moved statistics are the moving ones.
    own = [own and not moved for own, moved in zip(record.own, record.by_moved, strict=True)]
    if own != trains and len(set(own)) > 1:
        return IMPOSSIBLE
    opposite = [not does for does in trains]
    if has_moving and moves not in (trains, opposite) and len(set(moves)) > 1:
        return IMPOSSIBLE
    switches = [own, moves] if has_moving else [own]
    return (mode is not right.mode) + sum(switch != trains for switch in switches)
