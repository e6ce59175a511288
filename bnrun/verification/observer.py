"""Where a norm is observed: in this process, or in a worker that may hang or end without harm."""

from collections.abc import Callable
from typing import Any, Protocol, Self

import torch

from bnrun.errors import NormError
from bnrun.norms import norm_factory
from bnrun.norms.user_module import is_user_norm, takes_rank
from bnrun.verification.experiment import Observation, attempt
from bnrun.verification.situations import CHANNELS
from bnrun.verification.subject import Record, Subject
from bnrun.verification.topics import EXPERIMENTS
from bnrun.workers import Worker, WorkerLost

# Limits on a norm that keeps hanging or ending its process
IMPATIENT_SECONDS = 2.0
"""Time limit once an experiment has hung: still far more than anything sound takes."""
MOST_LIMITS = 3
"""Times the time limit that all hanging experiments together may take."""
MOST_LOST = 30
"""Experiments that may hang or end their process, before the others are left out."""

Job = tuple[str, torch.dtype]  # the name of an experiment, and the dtype


class Observer(Protocol):
    """Runs experiments with a norm; a context manager."""

    @property
    def printed(self) -> int:
        """Return how many lines the norm has printed."""

    def __enter__(self) -> Self:
        """Load the norm."""

    def __exit__(self, *_: object) -> None:
        """Release it."""

    def observe(self, experiment: str, dtype: torch.dtype) -> Observation[Any]:
        """Run an experiment, by its name."""


class InProcess:
    """Observes in this process: quick, and at the mercy of the norm. No time limit holds."""

    printed = 0

    def __init__(self, implementation: str, device: str) -> None:
        self._run = _load(implementation, device)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def observe(self, experiment: str, dtype: torch.dtype) -> Observation[Any]:
        """Run an experiment, by its name."""
        return self._run((experiment, dtype))


class InWorker:
    """Observes in a process apart.

    Args:
        implementation: a norm's name, or `file.py:Class`.
        device: torch's name of it.
        limit: seconds that loading the norm, and each experiment, may take.
    """

    def __init__(self, implementation: str, device: str, limit: float) -> None:
        self._worker = Worker(
            "model.norm: importing or building the norm",
            _load,
            (implementation, device),
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

    def observe(self, experiment: str, dtype: torch.dtype) -> Observation[Any]:
        """Run an experiment, by its name; if it is lost, the next one has another process."""
        if self._losses_left == 0 or self._patience <= 0:
            return Observation(trouble="not run", message="not run: too many before it were lost")
        impatient = self._patience < self._whole_patience
        limit = min(self._limit, IMPATIENT_SECONDS) if impatient else self._limit
        try:
            observation: Observation[Any] = self._worker.run((experiment, dtype), limit)
            return observation
        except WorkerLost as lost:
            self._losses_left -= 1
            self._patience -= limit if lost.how == "hung" else 0.0
            return Observation(trouble=lost.how, message=str(lost))
        except NormError as error:  # it was loaded before, and cannot be loaded again
            self._losses_left -= 1
            return Observation(trouble="raised", message=str(error))


def _load(implementation: str, device: str) -> Callable[[Job], Observation[Any]]:
    """Load a norm, and return what runs experiments with it."""
    factory, where = norm_factory(implementation), torch.device(device)
    torch.zeros(1, device=where)  # initializing a device takes time that is not the norm's
    asks_rank = is_user_norm(implementation) and takes_rank(type(factory(CHANNELS, 2)))
    subjects: dict[torch.dtype, Subject] = {}

    def run(job: Job) -> Observation[Any]:
        experiment, dtype = job
        if dtype not in subjects:
            subjects[dtype] = Subject(factory, asks_rank, where, dtype)
        return attempt(EXPERIMENTS[experiment], subjects[dtype])

    return run
