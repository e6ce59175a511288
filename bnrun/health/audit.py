"""One audit from beginning to end: read batches, pass them through, find, and report."""

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from torch import nn

from bnrun.errors import BnrunError
from bnrun.events import Stage
from bnrun.health.batches import open_batches
from bnrun.health.evidence import Evidence, Loading, Mode
from bnrun.health.finding import Finding
from bnrun.health.findings import find_all
from bnrun.health.report import Audit
from bnrun.health.session import InProcess, InWorker, Job, Observer, Session

MOST_BATCHES = 32
"""Batches that are read, unless the user says another number."""
TIME_LIMIT = 60.0
"""Seconds that building a network, and each batch, may take in a worker."""

STAGES: dict[Mode, str] = {
    "moving": "predicting with moving statistics",
    "training": "passing through in training mode",
    "batch": "predicting with each batch's statistics",
    "population": "predicting with population statistics",
}

Stages = Generator[Stage, None, None]


def audit(
    network: str,
    *,
    weights: str | None = None,
    data: str | None = None,
    batches: int = MOST_BATCHES,
    steps: int | None = None,
    device: str = "cpu",
    time_limit: float = TIME_LIMIT,
    recalibrates: bool = False,
) -> Generator[Stage, None, tuple[Audit, dict[str, Any] | None]]:
    """Audit a network that a text names, in a process apart.

    Yields a stage before each act.

    Args:
        network: `path/to/file.py:build` or `package.module:build`, perhaps with arguments.
        weights: a file for it.
        data: a function, likewise, or a folder of .npy files; None looks without data.
        batches: how many are read at most.
        steps: of training that were taken.
        device: torch's name of it.
        time_limit: seconds that building it, and each batch, may take.
        recalibrates: whether to return the network's state with population statistics, too.

    Returns:
        The audit, and the state or None.

    Raises:
        BnrunError: the network, its weights or its data cannot be loaded or run.
    """
    yield Stage("building the network in a process", 0, 1)
    observer = InWorker((network, weights, data, steps, device), time_limit)
    return (yield from audit_by(observer, data is not None, batches, recalibrates))


def audit_model(
    model: nn.Module,
    data: Any = None,
    *,
    name: str = "",
    batches: int = MOST_BATCHES,
    steps: int | None = None,
    loading: Loading | None = None,
    recalibrates: bool = False,
) -> Generator[Stage, None, tuple[Audit, dict[str, Any] | None]]:
    """Audit a network that is an object of this process; it comes back as it was.

    Args:
        model: the network.
        data: a function, a generator, a list or a DataLoader of inputs or (inputs, targets); it may
            yield a `Batch`, too.
        name: what the audit calls the network; by default, its class.
        batches, steps, recalibrates: see `audit`.
        loading: what loading its weights gave.
    """
    source = None if data is None else open_batches(data)
    session = Session(name or type(model).__name__, model, source, loading, steps)
    return (yield from audit_by(InProcess(session), data is not None, batches, recalibrates))


def audit_by(
    observer: Observer, has_data: bool, batches: int, recalibrates: bool
) -> Generator[Stage, None, tuple[Audit, dict[str, Any] | None]]:
    """Audit by what an observer sees of a network.

    Raises:
        BnrunError: see `audit`; or there is nothing to recalibrate.
    """
    start = time.perf_counter()
    state = None
    with observer:
        if recalibrates and not observer.run(Job("keeps_moving")):
            raise BnrunError(
                "no norm of this network keeps moving statistics: there is nothing to recalibrate. "
                "Leave this out.",
                "--recalibrate",
            )
        if has_data:
            count = yield from _read(observer, batches)
            yield from _observe(observer, count)
        yield Stage("judging", 1, 1)
        evidence: Evidence = observer.run(Job("evidence"))
        if recalibrates:
            state = observer.run(Job("recalibrated"))
        substituted = bool(observer.run(Job("substituted")))
        printed = observer.printed
    found = find_all(evidence)
    return Audit(
        evidence=evidence,
        findings=found,
        seconds=time.perf_counter() - start,
        printed=printed,
        remarks=tuple(_remarks(evidence, found, substituted)),
    ), state


def _read(observer: Observer, most: int) -> Generator[Stage, None, int]:
    """Read batches, and return how many."""
    count = 0
    while count < most:
        yield Stage("reading batches", count, most)
        examples, is_full = observer.run(Job("read"))
        if not examples:
            break
        count += 1
        if is_full:
            break
    if count == 0:
        raise BnrunError("the data yields no batch.", "--data")
    return count


def _observe(observer: Observer, count: int) -> Stages:
    """Send all batches through in each mode."""
    yield Stage("looking at the layers", 0, count)
    observer.run(Job("observe_layers"))
    yield from _pass(observer, "moving", count)
    yield from _pass(observer, "training", count)
    yield from _pass(observer, "batch", count)
    yield Stage("taking population statistics", 0, count)
    if observer.run(Job("take_population", ("batch",))):
        yield from _pass(observer, "population", count, "taking population statistics")
        observer.run(Job("take_population", ("population",)))
    yield from _pass(observer, "population", count)
    yield Stage("trying changed inputs", 0, 1)
    observer.run(Job("try_inputs"))


def _pass(observer: Observer, mode: Mode, count: int, name: str = "") -> Stages:
    for index in range(count):
        yield Stage(name or STAGES[mode], index, count)
        observer.run(Job("pass", (mode, index)))


def _remarks(evidence: Evidence, found: Sequence[Finding], substituted: bool) -> Iterator[str]:
    """Say what the audit did not look at, and what it changed."""
    if not evidence.norms:
        yield "No norm was found in this network."
    if not evidence.has_data:
        yield (
            "Without data, only what can be read from the network was looked at: not how far its "
            "statistics lie from those of its inputs, nor what it predicts. Add --data."
        )
    if substituted:
        yield "The code asks for CUDA, which is not here; it ran on the CPU."
    named = {name for one in found for name in one.layers}
    own = [one for one in evidence.norms if not one.is_torch_class and one.name not in named]
    for module, _, name in dict.fromkeys(one.class_name.rpartition(".") for one in own):
        yield f"{name} is not one of PyTorch's norms. Is it right? bnrun verify {module}:{name}"
