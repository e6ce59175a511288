"""Observing here, in this process, or apart, in one that may hang or end without harm."""

from collections.abc import Callable
from typing import Protocol, Self

import torch

from bnrun.errors import NormError
from bnrun.norms import norm_factory
from bnrun.norms.user_module import is_user_norm, takes_rank
from bnrun.verification.observe import EXPERIMENTS
from bnrun.verification.observe.experiment import Observation, attempt
from bnrun.verification.situations import CHANNELS
from bnrun.verification.subject import Subject
from bnrun.workers import Worker, WorkerLost

# Once an experiment has hung, others are given less: far more still than anything sound takes.
# Together they may take so many times the limit, before the rest is left.
IMPATIENT_SECONDS = 2.0
MOST_LIMITS = 3
MOST_LOST = 30  # experiments that hang or end their process


class Observer(Protocol):
    """Makes experiments with a norm; a context manager."""

    @property
    def printed(self) -> int:
        """Return how many lines the norm has printed."""

    def __enter__(self) -> Self:
        """Load the norm."""

    def __exit__(self, *_: object) -> None:
        """Let it go."""

    def look(self, experiment: str, dtype: torch.dtype) -> Observation:
        """Make an experiment."""


class Apart:
    """Observes in a process of its own.

    Args:
        implementation: a norm's name, or `file.py:Class`.
        device: torch's name of it.
        limit: seconds that loading the norm, and each experiment, may take.
    """

    def __init__(self, implementation: str, device: str, limit: float) -> None:
        self._limit = limit
        self._worker = Worker(
            "model.norm: importing or building the norm",
            _prepare,
            (implementation, device),
            limit,
            records=(Observation,),
        )
        self._whole = self._patience = MOST_LIMITS * limit
        self._may_be_lost = MOST_LOST

    @property
    def printed(self) -> int:
        """Return how many lines the norm has printed."""
        return self._worker.printed

    def __enter__(self) -> Self:
        self._worker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__()

    def look(self, experiment: str, dtype: torch.dtype) -> Observation:
        """Make an experiment; where it is lost, the next one has another process."""
        if self._may_be_lost == 0 or self._patience <= 0:
            return Observation(trouble="not run", message="not run: too many before it were lost")
        impatient = self._patience < self._whole
        limit = min(self._limit, IMPATIENT_SECONDS) if impatient else self._limit
        try:
            observation: Observation = self._worker.run((experiment, dtype), limit)
            return observation
        except WorkerLost as lost:
            self._may_be_lost -= 1
            self._patience -= limit if lost.how == "hung" else 0.0
            return Observation(trouble=lost.how, message=str(lost))
        except NormError as error:  # it was loaded before, and can't be again
            self._may_be_lost -= 1
            return Observation(trouble="raised", message=str(error))


class Here:
    """Observes in this process: quick, and at the mercy of the norm."""

    printed = 0

    def __init__(self, implementation: str, device: str, limit: float) -> None:
        self.look = _looking(implementation, device)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _looking(implementation: str, device: str) -> Callable[[str, torch.dtype], Observation]:
    """Load a norm, once, and return what makes experiments with it."""
    factory, where = norm_factory(implementation), torch.device(device)
    torch.zeros(1, device=where)  # a device takes its time to begin, which is not the norm's
    asks_rank = is_user_norm(implementation) and takes_rank(type(factory(CHANNELS, 2)))
    subjects: dict[torch.dtype, Subject] = {}

    def look(experiment: str, dtype: torch.dtype) -> Observation:
        if dtype not in subjects:
            subjects[dtype] = Subject(factory, asks_rank, where, dtype)
        return attempt(EXPERIMENTS[experiment], subjects[dtype])

    return look


def _prepare(implementation: str, device: str) -> Callable[[tuple[str, torch.dtype]], Observation]:
    """Load a norm in a worker's process."""
    look = _looking(implementation, device)
    return lambda job: look(*job)
