"""One verification from beginning to end: observe, diagnose, judge, and say what was found."""

import time
from collections.abc import Callable, Generator

import torch

from bnrun.events import Stage
from bnrun.verification.diagnose import diagnose
from bnrun.verification.evidence import Evidence
from bnrun.verification.findings import check, findings
from bnrun.verification.judge.checks import CHECKS
from bnrun.verification.judge.judging import judge
from bnrun.verification.judge.outcome import Case
from bnrun.verification.observe import EXPERIMENTS, Observation
from bnrun.verification.observe.apart import Apart, Observer
from bnrun.verification.recipe import right
from bnrun.verification.report import TIME_LIMIT, Contract, Report
from bnrun.verification.situations import LAYOUTS

# The experiments that tell what there is: parts, ranks, float64.
FIRST = ("offers", "training 2", "training 4")


def verify(
    implementation: str,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    limit: float = TIME_LIMIT,
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
    yield Stage("diagnosing", len(names), len(names))
    evidence = Evidence(seen, taken)
    reference = right(contract)
    case = Case(evidence, diagnose(evidence, reference), reference, contract, refused)
    outcomes = [(kind, judge(kind, case)) for kind in CHECKS]
    yield Report(
        implementation=implementation,
        contract=contract,
        dtype=str(taken).removeprefix("torch."),
        device=device,
        checks=tuple(check(kind, outcome) for kind, outcome in outcomes),
        found=tuple(findings(case, outcomes)),
        printed=printed,
        takes=tuple(LAYOUTS[rank] for rank in evidence.ranks),
        seconds=time.perf_counter() - began,
    )


def _raised(seen: dict[str, Observation]) -> bool:
    return all(seen[name].trouble in ("raised", "not offered") for name in FIRST[1:])
