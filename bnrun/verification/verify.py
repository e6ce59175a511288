"""One verification from beginning to end: observe, diagnose, judge, and report."""

import dataclasses
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from bnrun import kernels
from bnrun.config.norm_call import norm_call
from bnrun.errors import ConfigError, EngineError, NormError
from bnrun.events import Stage
from bnrun.norms import norm_text
from bnrun.verification.causes import traced
from bnrun.verification.check import Case, Check
from bnrun.verification.diagnose import diagnose
from bnrun.verification.evidence import Evidence
from bnrun.verification.experiment import Observations
from bnrun.verification.fault import Family
from bnrun.verification.findings import JudgedRun, findings
from bnrun.verification.judge import judge
from bnrun.verification.observer import (
    RECOGNITION,
    InProcess,
    InWorker,
    Job,
    Norm,
    Observer,
)
from bnrun.verification.recipe import right
from bnrun.verification.recognition import RANK_WORDS, Recognition, family_named
from bnrun.verification.report import (
    TIME_LIMIT,
    Contract,
    Engine,
    Measurement,
    Report,
    ranks_in,
)
from bnrun.verification.smallest_input import smallest
from bnrun.verification.subject import Construction
from bnrun.verification.topics import (
    EXPERIMENTS,
    checks_of,
    experiments_of,
    first_of,
    precision,
)

Stages = Generator[Stage, None, "EngineRun"]


def verify(
    norm: Norm,
    options: Mapping[str, Any] = MappingProxyType({}),
    *,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    engine: Engine | None = None,
    time_limit: float = TIME_LIMIT,
    isolated: bool | None = None,
    family: Family | None = None,
    shapes: str | None = None,
    examples: bool = False,
) -> Generator[Stage, None, Report]:
    """Check a normalization against a contract, and name its faults.

    Yields a stage before each experiment.

    Args:
        norm: a norm's name, `path/to/file.py:Class`, `package.module:Class`, or a class.
        options: arguments for the norm's constructor, by name. What counts as right stays the
            same, so another eps or momentum than PyTorch's is reported as a dialect.
        contract: what counts as right: PyTorch's layer, or the textbook's.
        dtype: of inputs and state. None takes float64 (where norm and device do) for eager, and
            float32 for compiled.
        device: torch's name of it.
        engine: eager or compiled alone. None takes eager, and compiled as well if bnrun's kernels
            compute the norm and can be used here.
        time_limit: seconds that each experiment may take, in a worker.
        isolated: whether the norm runs in a worker, a separate process that may hang, print or end
            without harm. None isolates what is named by a text, and runs a class here: a notebook's
            class exists in this process alone.
        family: of norms, by whose formula it is judged. None recognizes it.
        shapes: the inputs that it is for, such as `2d,4d`. None takes all that it accepts; what
            is named must be accepted.
        examples: whether small inputs show what passes, too, not only what was found.

    Raises:
        NormError: the norm cannot be loaded or built, or a worker cannot import the class.
        ConfigError: the device has no such dtype, or the family no inputs of these shapes.
        EngineError: `engine` is compiled, and the kernels do not compute this norm here.
    """
    if torch.device(device).type == "mps" and dtype == torch.float64:
        raise ConfigError("mps has no float64. Leave the dtype out, or use the CPU.", "dtype")
    in_worker = isinstance(norm, str) if isolated is None else isolated
    observer = (
        InWorker(norm, options, device, time_limit, family)
        if in_worker
        else InProcess(norm, options, device, family)
    )
    name = norm_call(_name(norm), options)
    asked = () if shapes is None else ranks_in(shapes)
    return verify_by(
        observer,
        name,
        family=family,
        contract=contract,
        dtype=dtype,
        device=device,
        engine=engine,
        asked=asked,
        examples=examples,
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
    family: Family | None = None,
    contract: Contract = "torch",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    engine: Engine | None = None,
    asked: tuple[int, ...] = (),
    examples: bool = False,
) -> Generator[Stage, None, Report]:
    """Verify a norm as `verify` does, by what an observer sees of it."""
    start = time.perf_counter()
    obstacle = _obstacle_to_compiled(dtype, device)
    if engine == "compiled" and obstacle is not None:
        raise obstacle
    not_measured = ""
    runs: list[EngineRun] = []
    yield Stage("loading torch and the norm in a process", 0, len(EXPERIMENTS))
    with observer:
        recognition = _recognize(observer, family or family_named(_class_name(name)))
        construction = _restricted(recognition.construction, asked)
        if engine != "compiled":
            runs.append((yield from _observe_eager(observer, construction, dtype, device)))
        if engine != "eager" and all(run.asks_for_kernels for run in runs):
            yield Stage("loading the kernels, or compiling them first", 0, len(EXPERIMENTS))
            obstacle = obstacle or _obstacle_of_machine()
            if obstacle is not None and engine == "compiled":
                raise obstacle
            if obstacle is not None:
                not_measured = obstacle.reason
            else:
                runs.append(
                    (yield from _observe(observer, construction, "compiled", torch.float32))
                )
        yield Stage("diagnosing", len(EXPERIMENTS), len(EXPERIMENTS))
        judged_runs = _judge_all(runs, contract, construction)
        if examples or any(outcome.faults for one in judged_runs for _, outcome in one.outcomes):
            _observe_smallest(observer, construction, runs)
        printed = observer.printed
    if engine == "compiled" and not runs[0].kernel_calls:
        raise EngineError(
            f"bnrun's kernels do not compute {name}: its own code runs the same under either "
            "engine. Leave the engine out.",
            key="engine",
        )
    _require_judged(judged_runs)
    return Report(
        implementation=name,
        contract=contract,
        device=device,
        measurements=tuple(run.measurement for run in judged_runs),
        checks=tuple(result for run in judged_runs for result in run.results()),
        findings=tuple(findings(judged_runs)),
        printed=printed,
        takes=tuple(construction.layouts[rank] for rank in judged_runs[0].case.ranks),
        expected=tuple(construction.layouts[rank] for rank in construction.main_ranks),
        seconds=time.perf_counter() - start,
        not_measured=not_measured,
        remarks=_remarks(name, judged_runs[0].case),
        family=construction.family,
        recognized=recognition.sentence,
    )


def _restricted(construction: Construction, asked: tuple[int, ...]) -> Construction:
    """Return a construction for the ranks of input that are asked about.

    Raises:
        ConfigError: the family has no such inputs.
    """
    restricted = dataclasses.replace(construction, asked=asked)
    missing = [f"{rank}d" for rank in asked if rank not in restricted.ranks]
    if missing:
        family = construction.family
        raise ConfigError(f"a norm of the family {family} has no inputs of {missing[0]}.", "shapes")
    return restricted


def _remarks(name: str, case: Case) -> tuple[str, ...]:
    """Say which inputs were asked about; and what a parameter was given that may be no rank."""
    remarks = []
    if case.construction.asked:
        layouts = [case.construction.layouts[rank] for rank in case.construction.ranks]
        remarks.append(f"Judged for {' and '.join(layouts)} alone, as asked.")
    takes_rank = case.parts.takes_rank
    if takes_rank and not any(word in takes_rank.lower() for word in RANK_WORDS):
        norm = name.partition("(")[0]
        remarks.append(
            f"The constructor's {takes_rank} was given the rank of the input: 2 for (N, C), 4 for "
            f"(N, C, H, W). If it is something else, give it: {norm}({takes_rank}=...)."
        )
    return tuple(remarks)


# ---- observing


@dataclass(frozen=True)
class EngineRun:
    """All observations under one engine, in the dtype that was found to work."""

    engine: Engine
    dtype: torch.dtype
    observations: Observations
    float64_refused: bool = False

    @property
    def asks_for_kernels(self) -> bool:
        """Return whether the norm's code has compiled kernels."""
        return any(run.kernel_requests for run in self.observations.values())

    @property
    def kernel_calls(self) -> int:
        """Return how many compiled kernels were called."""
        return sum(run.kernel_calls for run in self.observations.values())


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


def _class_name(name: str) -> str:
    """Return the name of the class in `path/to/file.py:Class(option=value)`, or of the norm."""
    return name.partition("(")[0].rpartition(":")[2]


def _recognize(observer: Observer, likely: Family | None) -> Recognition:
    """Return the family of the norm, and how its layers are built.

    Where that experiment hangs or ends its process, it is the likely family.
    """
    seen = observer.observe(Job(RECOGNITION, torch.float32, "eager"))
    if seen.record is not None:
        recognition: Recognition = seen.record
        return recognition
    return Recognition(Construction(likely or "batch", last=likely in ("layer", "rms")))


def _observe_eager(
    observer: Observer, construction: Construction, dtype: torch.dtype | None, device: str
) -> Stages:
    """Observe in a dtype; by default in float64, or in float32 if only that works."""
    if dtype is not None or torch.device(device).type == "mps":  # which has no float64
        return (yield from _observe(observer, construction, "eager", dtype or torch.float32))
    _, *passes = (run.name for run in first_of(construction))
    first: Observations = {}
    for run in first_of(construction):
        yield Stage(f"experiment: {run.name}", len(first), len(EXPERIMENTS))
        first[run.name] = observer.observe(Job(run.name, torch.float64, "eager", construction))
    if _raises(first, passes):
        narrow = {
            name: observer.observe(Job(name, torch.float32, "eager", construction))
            for name in first
        }
        if not _raises(narrow, passes):
            runs = yield from _observe(observer, construction, "eager", torch.float32, narrow)
            return dataclasses.replace(runs, float64_refused=True)
    return (yield from _observe(observer, construction, "eager", torch.float64, first))


def _raises(first: Observations, passes: Sequence[str]) -> bool:
    return all(first[name].trouble in ("raised", "not offered") for name in passes)


def _observe(
    observer: Observer,
    construction: Construction,
    engine: Engine,
    dtype: torch.dtype,
    first: Observations | None = None,
) -> Stages:
    """Run all experiments of a family but those that have been run first."""
    seen = dict(first or {})
    experiments = experiments_of(construction)
    for name in (one.name for one in experiments):
        if name not in seen:
            yield Stage(f"experiment: {name}", len(seen), len(experiments))
            seen[name] = observer.observe(Job(name, dtype, engine, construction))
    return EngineRun(engine, dtype, seen)


def _observe_smallest(
    observer: Observer, construction: Construction, runs: Sequence[EngineRun]
) -> None:
    """Add small inputs to what was observed, by which findings are shown."""
    for run in runs:
        job = Job(smallest.name, run.dtype, run.engine, construction)
        run.observations[smallest.name] = observer.observe(job)


# ---- judging


def _judge_all(
    runs: list[EngineRun], contract: Contract, construction: Construction
) -> list[JudgedRun]:
    """Judge all checks under each engine; under `compiled`, those in which it took part."""
    judged_runs: list[JudgedRun] = []
    for run in runs:
        evidence = Evidence(run.observations, run.dtype, construction)
        reference = right(contract, evidence.ways)
        eager = judged_runs[0].case if judged_runs else None
        case = Case(
            run.observations,
            run.dtype,
            construction,
            diagnose(evidence, reference),
            reference,
            contract,
            float64_refused=run.float64_refused,
            required_ranks=eager.ranks if eager else (),
        )
        case = dataclasses.replace(case, narrowing=precision.narrowing(case))
        checks = [
            check
            for check in checks_of(construction)
            if run.dtype in (check.dtypes or (run.dtype,))
            and (run.engine == "eager" or _is_computed_by_kernels(check, case, eager))
        ]
        dtype = str(run.dtype).removeprefix("torch.")
        measurement = Measurement(run.engine, dtype, run.kernel_calls)
        judged_runs.append(
            JudgedRun(measurement, case, traced([(check, judge(check, case)) for check in checks]))
        )
    return judged_runs


def _require_judged(runs: list[JudgedRun]) -> None:
    """Check that anything was judged.

    Raises:
        NormError: bnrun itself could not inspect the layers.
    """
    if any(outcome.status != "skip" for run in runs for _, outcome in run.outcomes):
        return
    seen = (one for run in runs for one in run.case.observations.values())
    message = next((one.message for one in seen if one.trouble == "not inspected"), None)
    if message is not None:
        raise NormError(f"{message}. Nothing of it was judged.", key="model.norm")


def _is_computed_by_kernels(check: Check, case: Case, eager: Case | None) -> bool:
    """Return whether a kernel was called in an experiment of a check, or failed before that."""
    for experiment in check.experiments:
        seen = case.of(experiment)
        works_eagerly = eager is not None and eager.record(experiment) is not None
        if seen.kernel_calls or (seen.kernel_requests and seen.record is None and works_eagerly):
            return True
    return False
