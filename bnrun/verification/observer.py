"""Where a norm is observed: in this process, or in a worker that may hang or end without harm."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from bnrun.errors import NormError
from bnrun.norms import NORMS, NormFactory, norm_factory, norm_text
from bnrun.norms.options import rank_parameter
from bnrun.norms.user_module import class_of, is_user_norm
from bnrun.verification.experiment import Experiment, Observation, attempt
from bnrun.verification.fault import Family
from bnrun.verification.recognition import affine_option, constructions, family_named, recognize
from bnrun.verification.report import Engine
from bnrun.verification.subject import Construction, Record, Subject
from bnrun.verification.topics import EXPERIMENTS
from bnrun.workers import Worker, WorkerLost

# Limits on a norm that keeps hanging or ending its process
IMPATIENT_SECONDS = 2.0
"""Time limit once an experiment has hung: still far more than anything sound takes."""
MOST_LIMITS = 3
"""Times the time limit that all hanging experiments together may take."""
MOST_LOST = 30
"""Experiments that may hang or end their process, before the others are left out."""

Norm = str | type[nn.Module]
RECOGNITION = "family"
"""The name of the experiment that comes first, and returns how to build the norm for the others."""


class Job(NamedTuple):
    """An experiment to run, by its name, with the dtype, the engine and how layers are built."""

    experiment: str
    dtype: torch.dtype
    engine: Engine
    construction: Construction = Construction()


class InProcess:
    """Observes in this process: quick, but without a time limit, and a norm that exits ends it."""

    printed = 0

    def __init__(
        self, norm: Norm, options: Mapping[str, Any], device: str, family: Family | None = None
    ) -> None:
        self._run = _load(norm, options, device, family)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def observe(self, job: Job) -> Observation[Any]:
        """Run an experiment."""
        return self._run(job)


class InWorker:
    """Observes in a separate process, which loads the norm itself.

    Args:
        norm, options: see `bnrun.norms.norm_factory`.
        device: torch's name of it.
        limit: seconds that loading the norm, and each experiment, may take.
        family: of norms, if the user names it.

    Raises:
        NormError: a class that another process cannot import, as one of a notebook.
    """

    def __init__(
        self,
        norm: Norm,
        options: Mapping[str, Any],
        device: str,
        limit: float,
        family: Family | None = None,
    ) -> None:
        self._worker = Worker(
            "importing or building the norm",
            _load,
            (_importable(norm), dict(options), device, family),
            limit,
            records=Record.__subclasses__(),
        )
        self._limit = limit
        self._whole_patience = self._patience = MOST_LIMITS * limit
        self._losses_left = MOST_LOST

    @property
    def printed(self) -> int:
        """Return how many lines the norm has printed."""
        return self._worker.printed

    def __enter__(self) -> Self:
        self._worker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__()

    def observe(self, job: Job) -> Observation[Any]:
        """Run an experiment; if it is lost, the next one has another process."""
        if self._losses_left == 0 or self._patience <= 0:
            return Observation(
                trouble="not run",
                message="not run: too many experiments before it hung or ended their process",
            )
        impatient = self._patience < self._whole_patience
        limit = min(self._limit, IMPATIENT_SECONDS) if impatient else self._limit
        try:
            observation: Observation[Any] = self._worker.run(job, limit)
            return observation
        except WorkerLost as lost:
            self._losses_left -= 1
            self._patience -= limit if lost.how == "hung" else 0.0
            return Observation(trouble=lost.how, message=str(lost))
        except NormError as error:  # a new process could not load it again
            self._losses_left -= 1
            return Observation(trouble="raised", message=str(error))


Observer = InProcess | InWorker
"""Runs experiments with a norm, and counts the lines that it prints where they are not shown."""


def _importable(norm: Norm) -> str:
    """Return the text by which another process can load a norm.

    Raises:
        NormError: it cannot.
    """
    text = norm_text(norm)
    module, _, name = text.rpartition(":")
    if module != "__main__":
        return text
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise NormError(
            f"the class {name} exists in this session only, so no other process can load it. "
            "Leave out isolated=True, or define the class in a file."
        )
    return f"{file}:{name}"


def _load(
    norm: Norm, options: Mapping[str, Any], device: str, family: Family | None
) -> Callable[[Job], Observation[Any]]:
    """Load a norm, and return what runs experiments with it.

    Raises:
        NormError: it cannot be loaded, or its class cannot be built in any known way.
    """
    is_class = is_user_norm(norm)
    loaded = class_of(norm) if is_class else norm
    factory, where = norm_factory(loaded, options), torch.device(device)
    torch.zeros(1, device=where)  # initializing a device takes time that is not the norm's
    name = getattr(loaded, "__name__", str(loaded))
    target: Any = loaded if is_class else NORMS[str(loaded)]
    known = family or family_named(name) or (None if is_class else "batch")
    ways = constructions(target, options, known)
    _require_built(factory, ways)
    subjects: dict[tuple[torch.dtype, Engine, Construction], Subject] = {}

    def subject(dtype: torch.dtype, construction: Construction) -> Subject:
        given = {**options, **dict(construction.options)}
        rank = rank_parameter(target, given) if is_class else ""
        affine = affine_option(target, given)
        return Subject(factory, rank, where, dtype, construction, affine)

    def run(job: Job) -> Observation[Any]:
        if job.experiment == RECOGNITION:
            build = functools.partial(subject, job.dtype)
            recognition = Experiment(
                RECOGNITION, lambda _: recognize(name, family if is_class else known, ways, build)
            )
            return attempt(recognition, build(ways[0]), job.engine)
        key = (job.dtype, job.engine, job.construction)
        if key not in subjects:
            subjects[key] = subject(job.dtype, job.construction)
        return attempt(EXPERIMENTS[job.experiment], subjects[key], job.engine)

    return run


def _require_built(factory: NormFactory, ways: Sequence[Construction]) -> None:
    """Check that a class can be built in one of some ways.

    Raises:
        NormError: it refuses all of them; the reason is that of the first.
    """
    refusals = []
    for one in ways:
        features: Any = (one.channels,) if one.as_shape else one.channels
        try:
            factory(features, one.ranks[0], **dict(one.options))
            return
        except NormError as error:
            refusals.append(error)
    raise refusals[0]
