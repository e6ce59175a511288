"""An experiment with a norm, and what was observed in it. Nothing is judged here."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch

from bnrun import kernels
from bnrun.norms.user_module import WrongOutput, own_line
from bnrun.verification.report import Engine
from bnrun.verification.subject import Misaligned, NotInspected, NotOffered, Record, Subject

R = TypeVar("R", bound=Record)
Trouble = Literal[
    "not offered", "raised", "hung", "exited", "not run", "not inspected", "misaligned"
]
LONGEST_MESSAGE = 300
"""Characters of an error's message that are shown."""


@dataclass(frozen=True, eq=False)
class Experiment(Generic[R]):
    """An experiment: `observe` runs the norm and returns a record of plain values.

    It runs other people's code, so it may raise, hang or end its process.
    """

    name: str
    observe: Callable[[Subject], R]


def experiment(name: str) -> Callable[[Callable[[Subject], R]], Experiment[R]]:
    """Turn a function of the subject into an experiment."""
    return lambda observe: Experiment(name, observe)


@dataclass(frozen=True)
class Observation(Record, Generic[R]):
    """The record of an experiment; or None, and what went wrong, in words.

    `kernel_calls` counts the compiled kernels that were called, and `kernel_requests` how often
    code asked for one: a norm that never asks has no kernel.
    """

    record: R | None = None
    trouble: Trouble | None = None
    message: str = ""
    kernel_calls: int = 0
    kernel_requests: int = 0


def attempt(experiment: Experiment[R], subject: Subject, engine: Engine) -> Observation[R]:
    """Run an experiment, whatever it raises, always from the same state of torch.

    Warnings are not shown: odd inputs cause them, and where a test suite makes them errors, they
    would look like errors of the class.

    Raises:
        EngineError: the compiled kernels cannot be used on this machine.
    """
    calls, requests = kernels.calls(), kernels.requests()
    switch = kernels.enabled() if engine == "compiled" else kernels.disabled()
    threads = contextlib.nullcontext() if engine == "compiled" else _one_thread()
    with switch, threads, _initial_torch_state(subject.device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        observation = _observe(experiment, subject)
    return dataclasses.replace(
        observation,
        kernel_calls=kernels.calls() - calls,
        kernel_requests=kernels.requests() - requests,
    )


def _observe(experiment: Experiment[R], subject: Subject) -> Observation[R]:
    try:
        return Observation(experiment.observe(subject))
    except NotOffered as error:
        return Observation(trouble="not offered", message=str(error))
    except Misaligned as error:
        return Observation(trouble="misaligned", message=describe(error.__cause__ or error))
    except NotInspected as error:
        return Observation(trouble="not inspected", message=f"bnrun cannot inspect it: {error}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: the norm's code may do anything
        return Observation(trouble="raised", message=describe(error))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch compute in one thread: waking others takes longer than a small input does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _initial_torch_state(device: torch.device) -> Iterator[None]:
    """Seed torch with 0, enable gradients, make float32 the default; restore all afterwards."""
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    is_cpu = device.type == "cpu"
    devices, kind = ([], "cuda") if is_cpu else ([device], device.type)
    with torch.random.fork_rng(devices, device_type=kind):
        # torch.manual_seed visits every kind of device, and takes ten times as long
        (torch.default_generator.manual_seed if is_cpu else torch.manual_seed)(0)
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)


def describe(error: BaseException) -> str:
    """Return an error in words, with the user's own line where it came from one."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # the error class may be faulty, too
        lines = []
    if len(lines) > 1 and lines[0].endswith(":"):  # as torch's of a state_dict: the keys follow
        lines[0] = f"{lines[0]} {lines[1].strip()}"
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, WrongOutput):  # bnrun's own: no name that a user could search for
        text = lines[0]
    text = _shortened(text).rstrip(".")
    line = own_line(error).strip()
    shown = f"{text} ({line})" if line else text
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def _shortened(text: str) -> str:
    """Return a text of few characters: cut after a sentence, or else between two words."""
    if len(text) <= LONGEST_MESSAGE:
        return text
    start, end, _ = text[:LONGEST_MESSAGE].rpartition(". ")
    return start + end.strip() if start else f"{text[:LONGEST_MESSAGE].rpartition(' ')[0]} …"


Observations = dict[str, Observation[Any]]
"""Observations by the name of their experiment."""
