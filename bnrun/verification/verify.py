"""One verification from beginning to end: observe, diagnose, judge, and report."""

import dataclasses
import time
from collections.abc import Generator

import torch

from bnrun.events import Stage
from bnrun.verification.check import Case
from bnrun.verification.diagnose import diagnose
from bnrun.verification.evidence import Evidence
from bnrun.verification.experiment import Observations
from bnrun.verification.findings import findings, result
from bnrun.verification.judge import judge
from bnrun.verification.observer import InProcess, InWorker, Observer
from bnrun.verification.recipe import right
from bnrun.verification.report import TIME_LIMIT, Contract, Measurement, Report
from bnrun.verification.situations import LAYOUTS
from bnrun.verification.topics import CHECKS, EXPERIMENTS, FIRST, precision


def verify(
    implementation: str,
    *,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    time_limit: float = TIME_LIMIT,
    isolated: bool = True,
) -> Generator[Stage, None, Report]:
    """Check an implementation of batch normalization against a contract, and name its faults.

    Yields a stage before each experiment.

    Args:
        implementation: a norm's name, or `path/to/file.py:Class`.
        contract: what counts as right: PyTorch's layer, or the textbook's.
        dtype: of inputs and state; None takes float64, where the norm (and the device) does.
        device: torch's name of it.
        time_limit: seconds that each experiment may take, in a worker.
        isolated: whether the norm runs in a worker, a process apart.

    Raises:
        NormError: the implementation cannot be loaded or built.
    """
    observer = (
        InWorker(implementation, device, time_limit)
        if isolated
        else InProcess(implementation, device)
    )
    return verify_by(observer, implementation, contract=contract, dtype=dtype, device=device)


def verify_by(
    observer: Observer,
    implementation: str,
    *,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
) -> Generator[Stage, None, Report]:
    """Verify an implementation as `verify` does, by an observer of one's own."""
    start = time.perf_counter()
    has_float64 = torch.device(device).type != "mps"
    tried = dtype or (torch.float64 if has_float64 else torch.float32)
    yield Stage("loading", 0, len(EXPERIMENTS))
    with observer:
        seen: Observations = {}
        refused = False
        for name in EXPERIMENTS:
            yield Stage(name, len(seen), len(EXPERIMENTS))
            seen[name] = observer.observe(name, tried)
            if (
                name == FIRST[-1].name
                and dtype is None
                and tried == torch.float64
                and _raised(seen)
            ):
                narrow = {one.name: observer.observe(one.name, torch.float32) for one in FIRST}
                if not _raised(narrow):
                    refused, tried, seen = True, torch.float32, narrow
        printed = observer.printed
    yield Stage("diagnosing", len(EXPERIMENTS), len(EXPERIMENTS))
    evidence = Evidence(seen, tried)
    reference = right(contract)
    case = Case(evidence, diagnose(evidence, reference), reference, contract, refused)
    case = dataclasses.replace(case, narrowing=precision.narrowing(case))
    outcomes = [(check, judge(check, case)) for check in CHECKS]
    name_of_dtype = str(tried).removeprefix("torch.")
    return Report(
        implementation=implementation,
        contract=contract,
        device=device,
        measurements=(Measurement("eager", name_of_dtype),),
        checks=tuple(result(check, outcome) for check, outcome in outcomes),
        findings=tuple(findings(case, outcomes)),
        printed=printed,
        takes=tuple(LAYOUTS[rank] for rank in evidence.ranks),
        seconds=time.perf_counter() - start,
    )


def _raised(seen: Observations) -> bool:
    return all(seen[one.name].trouble in ("raised", "not offered") for one in FIRST[1:])
