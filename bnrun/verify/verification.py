"""One verification from beginning to end: observe, diagnose, judge, and say what was found."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import torch

from bnrun.events import Stage
from bnrun.verify.diagnose import diagnose
from bnrun.verify.evidence import Evidence
from bnrun.verify.judge import CHECKS, CheckKind, judge
from bnrun.verify.judge.outcome import Case, Outcome
from bnrun.verify.known import batch_statistics, gradients, kept, momentum, normalization
from bnrun.verify.known.fault import Choice, Fault
from bnrun.verify.observe import EXPERIMENTS, Observation
from bnrun.verify.observe.apart import Apart, Observer
from bnrun.verify.recipe import deviations, right
from bnrun.verify.report import Check, Contract, Found, Report
from bnrun.verify.situations import LAYOUTS

LIMIT = 10.0  # seconds

# The experiments that tell which ranks, and whether float64, are taken.
FIRST = ("training 2", "training 4")


def verify(
    implementation: str,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    limit: float = LIMIT,
    observer: Callable[[str, str, float], Observer] = Apart,
) -> Generator[Stage | Report, None, None]:
    """Hold an implementation of batch normalization to a contract, and name its faults.

    Yields a stage before each experiment, and the report at the end.

    Args:
        implementation: a norm's name, or `path/to/file.py:Class`.
        contract: what counts as right: PyTorch's layer, or the textbook's.
        dtype: of inputs and state; None takes float64, where the norm does (and the device).
        device: torch's name of it.
        limit: seconds that each experiment may take.
        observer: what makes the experiments: in a process apart, unless told otherwise.

    Raises:
        NormError: the implementation cannot be loaded or built.
    """
    began = time.perf_counter()
    has_float64 = torch.device(device).type != "mps"
    taken = dtype or (torch.float64 if has_float64 else torch.float32)
    refused = False
    names = [*FIRST, *(name for name in EXPERIMENTS if name not in FIRST)]
    yield Stage("loading", 0, len(names))
    with observer(implementation, device, limit) as looking:
        seen: dict[str, Observation] = {}
        for name in names:
            yield Stage(name, len(seen), len(names))
            seen[name] = looking.look(name, taken)
            if name == FIRST[-1] and dtype is None and taken == torch.float64 and _raised(seen):
                narrow = {first: looking.look(first, torch.float32) for first in FIRST}
                if not _raised(narrow):
                    refused, taken, seen = True, torch.float32, narrow
        printed = looking.printed
    evidence = Evidence(seen, taken)
    reference = right(contract)
    case = Case(evidence, diagnose(evidence, reference), reference, contract, refused)
    outcomes = [(kind, judge(kind, case)) for kind in CHECKS]
    yield Report(
        implementation=implementation,
        contract=contract,
        dtype=str(taken).removeprefix("torch."),
        device=device,
        checks=tuple(_check(kind, outcome) for kind, outcome in outcomes),
        found=tuple(_found(case, outcomes)),
        printed=printed,
        seconds=time.perf_counter() - began,
    )


def _raised(seen: dict[str, Observation]) -> bool:
    return all(seen[name].trouble == "raised" for name in FIRST)


UNEXPLAINED = "unexplained"


def _names(*lists: Sequence[Choice[Any]]) -> set[str]:
    return {choice.fault.name for choices in lists for choice in choices if choice.fault}


# Faults that both training and predicting could have, or both moving statistics; and those that
# an input of any rank could show.
_IN_EVERY_PART = _names(
    normalization.CENTRING, normalization.DENOMINATOR, normalization.EPS, normalization.AFFINE,
    gradients.GAMMA_GRADIENT, gradients.BETA_GRADIENT, momentum.UPDATE,
)  # fmt: skip
_FOR_EVERY_RANK = _IN_EVERY_PART | _names(
    batch_statistics.SPREAD, batch_statistics.TRAINING_SOURCE, batch_statistics.PREDICTING_SOURCE,
    gradients.X_GRADIENT, kept.KEPT_MEAN, kept.KEPT_VAR,
)  # fmt: skip


def _check(kind: CheckKind, outcome: Outcome) -> Check:
    """Return a check with its message: why it was skipped, or what it fails from."""
    unexplained = outcome.status == "fail" and not outcome.faults
    sentences = [f"{fault.says} {fault.mend}" for fault in outcome.faults]
    if unexplained:
        sentences.append(_unexplained(outcome.note).says)
    elif outcome.note:
        sentences.append(f"({outcome.note})" if outcome.faults else outcome.note)
    names = (UNEXPLAINED,) if unexplained else tuple(fault.name for fault in outcome.faults)
    return Check(kind.name, kind.group, outcome.status, outcome.error, " ".join(sentences), names)


def _unexplained(note: str) -> Fault:
    return Fault(
        UNEXPLAINED,
        f"No known mistake gives what was observed{': ' + note if note else ''}.",
        "Compare with the formula for a small input, such as the one named, by hand: "
        "gamma * (x - mean) / sqrt(var + eps) + beta.",
    )


def _found(case: Case, outcomes: Iterable[tuple[CheckKind, Outcome]]) -> list[Found]:
    """Return the faults with the checks that follow from each, in the order of the checks."""
    following: dict[Fault, list[str]] = {}
    seen: dict[Fault, str] = {}
    unexplained: list[tuple[str, str]] = []
    for kind, outcome in outcomes:
        for fault in outcome.faults:
            following.setdefault(fault, []).append(kind.name)
            if outcome.note and not seen.get(fault):
                seen[fault] = outcome.note
        if outcome.status == "fail" and not outcome.faults:
            unexplained.append((kind.name, outcome.note))
    found = [
        Found(fault, _where(case, fault), tuple(names), seen.get(fault, ""))
        for fault, names in following.items()
    ]
    if unexplained:
        names = tuple(name for name, _ in unexplained)
        found.append(Found(_unexplained(unexplained[0][1]), "", names))
    return found


def _where(case: Case, fault: Fault) -> str:
    """Say where alone a mistaken formula is found, if not everywhere that it could be."""
    places: set[tuple[str, int]] = set()
    for rank in case.evidence.ranks:
        for place, known, _ in deviations(case.recipe(rank), case.right):
            if known == fault:
                places.add((place, rank))
    if not places:
        return ""
    said = []
    parts = {place for place, _ in places}
    alone = {
        "training": "in training only",
        "predicting": "when predicting only",
        "mean_update": "the moving mean only",
        "var_update": "the moving variance only",
    }
    if len(parts) == 1 and fault.name in _IN_EVERY_PART:
        said.append(alone.get(next(iter(parts)), ""))
    ranks = {rank for _, rank in places}
    if (
        {2, 4} <= set(case.evidence.ranks)
        and len(ranks & {2, 4}) == 1
        and fault.name in _FOR_EVERY_RANK
    ):
        said.append(f"for {LAYOUTS[next(iter(ranks & {2, 4}))]} only")
    return ", ".join(text for text in said if text)
