"""One verification from beginning to end: observe, diagnose, judge, and report."""

import dataclasses
import time
from collections.abc import Generator
from dataclasses import dataclass

import torch

from bnrun import kernels
from bnrun.errors import EngineError, NormError
from bnrun.events import Stage
from bnrun.norms import norm_text
from bnrun.verification.check import Case, Check
from bnrun.verification.diagnose import diagnose
from bnrun.verification.evidence import Evidence
from bnrun.verification.experiment import Observations
from bnrun.verification.findings import Judged, findings
from bnrun.verification.judge import judge
from bnrun.verification.observer import InProcess, InWorker, Norm, Observer
from bnrun.verification.recipe import right
from bnrun.verification.report import (
    TIME_LIMIT,
    Contract,
    Engine,
    Measurement,
    Report,
)
from bnrun.verification.situations import LAYOUTS
from bnrun.verification.topics import CHECKS, EXPERIMENTS, FIRST, precision

Stages = Generator[Stage, None, "Observed"]


def verify(
    norm: Norm,
    *,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    engine: Engine | None = None,
    time_limit: float = TIME_LIMIT,
    isolated: bool | None = None,
) -> Generator[Stage, None, Report]:
    """Check a batch normalization against a contract, and name its faults.

    Yields a stage before each experiment.

    Args:
        norm: a norm's name, `path/to/file.py:Class`, `package.module:Class`, or a class.
        contract: what counts as right: PyTorch's layer, or the textbook's.
        dtype: of inputs and state. None takes float64 (where norm and device do) for eager, and
            float32 for compiled.
        device: torch's name of it.
        engine: eager or compiled alone. None takes eager, and compiled as well if bnrun's kernels
            compute the norm and can be used here.
        time_limit: seconds that each experiment may take, in a worker.
        isolated: whether the norm runs in a worker, a process apart that may hang, print or end
            without harm. None isolates what is named by a text, and runs a class here: a notebook's
            class exists in this process alone.

    Raises:
        NormError: the norm cannot be loaded or built, or a worker cannot import the class.
        EngineError: `engine` is compiled, and the kernels do not compute this norm here.
    """
    in_worker = isinstance(norm, str) if isolated is None else isolated
    observer = InWorker(norm, device, time_limit) if in_worker else InProcess(norm, device)
    return verify_by(
        observer, _name(norm), contract=contract, dtype=dtype, device=device, engine=engine
    )


def _name(norm: Norm) -> str:
    try:
        return norm_text(norm)
    except NormError:  # a class inside a function
        return norm if isinstance(norm, str) else norm.__qualname__


def verify_by(
    observer: Observer,
    name: str,
    *,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    engine: Engine | None = None,
) -> Generator[Stage, None, Report]:
    """Verify a norm as `verify` does, by what an observer sees of it."""
    start = time.perf_counter()
    obstacle = _obstacle_to_compiled(dtype, device)
    if engine == "compiled" and obstacle is not None:
        raise obstacle
    not_measured = ""
    observed: list[Observed] = []
    yield Stage("loading", 0, len(EXPERIMENTS))
    with observer:
        if engine != "compiled":
            observed.append((yield from _observe_eager(observer, dtype, device)))
        if engine != "eager" and all(one.asks_for_kernels for one in observed):
            obstacle = obstacle or _obstacle_of_machine()
            if obstacle is not None and engine == "compiled":
                raise obstacle
            if obstacle is not None:
                not_measured = obstacle.reason
            else:
                observed.append((yield from _observe(observer, "compiled", torch.float32)))
        printed = observer.printed
    if engine == "compiled" and not observed[0].kernel_calls:
        raise EngineError(
            f"bnrun's kernels do not compute {name}: its own code runs the same under either "
            "engine. Leave the engine out.",
            key="engine",
        )
    yield Stage("diagnosing", len(EXPERIMENTS), len(EXPERIMENTS))
    judged = _judge_all(observed, contract)
    return Report(
        implementation=name,
        contract=contract,
        device=device,
        measurements=tuple(one.measurement for one in judged),
        checks=tuple(result for one in judged for result in one.results()),
        findings=tuple(findings(judged)),
        printed=printed,
        takes=tuple(LAYOUTS[rank] for rank in judged[0].case.ranks),
        seconds=time.perf_counter() - start,
        not_measured=not_measured,
    )


# ---- observing


@dataclass(frozen=True)
class Observed:
    """All observations under one engine, in the dtype that was found to work."""

    engine: Engine
    dtype: torch.dtype
    observations: Observations
    float64_refused: bool = False

    @property
    def asks_for_kernels(self) -> bool:
        """Return whether the norm's code has compiled kernels."""
        return any(one.kernel_requests for one in self.observations.values())

    @property
    def kernel_calls(self) -> int:
        """Return how many compiled kernels were called."""
        return sum(one.kernel_calls for one in self.observations.values())


def _obstacle_to_compiled(dtype: torch.dtype | None, device: str) -> EngineError | None:
    """Return why the compiled kernels cannot compute any norm here; None if they can."""
    if torch.device(device).type != "cpu":
        return EngineError("bnrun's compiled kernels are for the CPU.", key="engine")
    if dtype not in (None, torch.float32):
        return EngineError("bnrun's compiled kernels compute in float32 alone.", key="engine")
    return None


def _obstacle_of_machine() -> EngineError | None:
    """Compile the kernels, outside any time limit; return why that fails, if it does."""
    try:
        with kernels.enabled():
            return None
    except EngineError as error:
        return EngineError(error.reason, key="engine")


def _observe_eager(observer: Observer, dtype: torch.dtype | None, device: str) -> Stages:
    """Observe in a dtype; by default in float64, or in float32 if only that works."""
    if dtype is not None or torch.device(device).type == "mps":  # which has no float64
        return (yield from _observe(observer, "eager", dtype or torch.float32))
    first: Observations = {}
    for one in FIRST:
        yield Stage(one.name, len(first), len(EXPERIMENTS))
        first[one.name] = observer.observe((one.name, torch.float64, "eager"))
    if _raises(first):
        narrow = {e.name: observer.observe((e.name, torch.float32, "eager")) for e in FIRST}
        if not _raises(narrow):
            observed = yield from _observe(observer, "eager", torch.float32, narrow)
            return dataclasses.replace(observed, float64_refused=True)
    return (yield from _observe(observer, "eager", torch.float64, first))


def _raises(first: Observations) -> bool:
    return all(first[one.name].trouble in ("raised", "not offered") for one in FIRST[1:])


def _observe(
    observer: Observer, engine: Engine, dtype: torch.dtype, first: Observations | None = None
) -> Stages:
    """Run all experiments but those that have been run first."""
    seen = dict(first or {})
    for name in EXPERIMENTS:
        if name not in seen:
            yield Stage(name, len(seen), len(EXPERIMENTS))
            seen[name] = observer.observe((name, dtype, engine))
    return Observed(engine, dtype, seen)


# ---- judging


def _judge_all(observed: list[Observed], contract: Contract) -> list[Judged]:
    """Judge all checks under each engine; under `compiled`, those in which it took part."""
    reference = right(contract)
    judged: list[Judged] = []
    for one in observed:
        evidence = Evidence(one.observations, one.dtype)
        eager = judged[0].case if judged else None
        case = Case(
            one.observations,
            one.dtype,
            diagnose(evidence, reference),
            reference,
            contract,
            float64_refused=one.float64_refused,
            required_ranks=eager.ranks if eager else (),
        )
        case = dataclasses.replace(case, narrowing=precision.narrowing(case))
        checks = [
            check
            for check in CHECKS
            if one.engine == "eager" or _is_computed_by_kernels(check, case, eager)
        ]
        dtype = str(one.dtype).removeprefix("torch.")
        measurement = Measurement(one.engine, dtype, one.kernel_calls)
        judged.append(Judged(measurement, case, [(check, judge(check, case)) for check in checks]))
    return judged


def _is_computed_by_kernels(check: Check, case: Case, eager: Case | None) -> bool:
    """Return whether a kernel was called in an experiment of a check, or failed before that."""
    for experiment in check.experiments:
        seen = case.of(experiment)
        works_eagerly = eager is not None and eager.seen(experiment) is not None
        if seen.kernel_calls or (seen.kernel_requests and seen.record is None and works_eagerly):
            return True
    return False
