"""Events: the frozen records that long work yields, and how to run such work to its result.

All long work is a generator that yields events and *returns* its result:

    def verify(...) -> Generator[Stage, None, Report]: ...

    report = drain(verify(...), screen.show)

Events hold plain values and no tensors, except for `CheckpointReady`, whose state is opaque here.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

AnyEvent = TypeVar("AnyEvent")
Result = TypeVar("Result")


def drain(
    work: Generator[AnyEvent, None, Result],
    on_event: Callable[[AnyEvent], object] = lambda event: None,
) -> Result:
    """Run work to its end, pass each event to `on_event`, and return the work's result.

    The generator is closed however this ends, so that it stops its processes and releases its
    locks when `on_event` raises.
    """
    with closing(work):
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                result: Result = end.value
                return result
            on_event(event)


Status = Literal["completed", "interrupted", "diverged", "failed"]


@dataclass(frozen=True)
class DataUsed:
    """The data of a run: its name, where it came from, and how many images it holds.

    `verified` is true where every file has the published SHA-256, and None for generated data.
    """

    name: str
    source: str
    verified: bool | None
    train_images: int
    validation_images: int
    test_images: int


@dataclass(frozen=True)
class EpochEnded:
    """One epoch's result. Accuracies are fractions.

    `loss` and `train_acc` are means over the epoch as it was seen, while the weights moved;
    `test_acc` (and `validation_acc`, where images are held out) is taken after it, as the norms
    predict by themselves: with their moving statistics. `test_acc_population` and
    `test_acc_batch` are None unless asked for, and where no norm keeps moving statistics.
    `seconds` is the epoch's wall time, evaluation included. Throughputs leave warm-up steps out,
    and are None in an epoch that had no others.
    """

    epoch: int
    loss: float
    train_acc: float
    test_acc: float
    validation_acc: float | None
    examples_per_second: float | None
    compute_examples_per_second: float | None
    seconds: float
    test_acc_population: float | None = None
    test_acc_batch: float | None = None


@dataclass(frozen=True)
class RunStarted:
    """A run begins, or goes on: `finished` holds the epochs that an earlier session ended.

    `machine` is the device's name for humans. `engine` executes the steps; where it was chosen,
    `engine_chosen` says why.
    """

    norm: str
    device: str
    machine: str
    seed: int
    epochs: int
    steps_per_epoch: int
    data: DataUsed
    finished: tuple[EpochEnded, ...] = ()
    engine: str = "eager"
    engine_chosen: str = ""


@dataclass(frozen=True)
class Progress:
    """Somewhere inside an epoch: means over its first `step` steps."""

    epoch: int
    step: int
    loss: float
    accuracy: float
    examples_per_second: float | None


@dataclass(frozen=True)
class Notice:
    """One sentence that the user should read."""

    message: str


@dataclass(frozen=True)
class CheckpointReady:
    """Everything that is needed to go on after `epoch`: tensors and plain values."""

    epoch: int
    state: Mapping[str, Any]


@dataclass(frozen=True)
class RunEnded:
    """A run has come to its end; throughputs are of the whole run. `reason` is for humans."""

    status: Status
    examples_per_second: float | None
    compute_examples_per_second: float | None
    reason: str | None = None


Event = RunStarted | Progress | EpochEnded | Notice | CheckpointReady | RunEnded


@dataclass(frozen=True)
class Stage:
    """Something beside training that takes a while: `done` of `total` parts."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class Fetching:
    """Data is on its way: bytes received so far, and how many are expected."""

    source: str
    received: int
    expected: int
