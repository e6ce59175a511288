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
OtherEvent = TypeVar("OtherEvent")
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


def mapped(
    work: Generator[AnyEvent, None, Result], convert: Callable[[AnyEvent], OtherEvent | None]
) -> Generator[OtherEvent, None, Result]:
    """Yield what `convert` makes of each event, where that is not None; return the work's result.

    The work is closed however this ends, as `drain` does.
    """
    with closing(work):
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                result: Result = end.value
                return result
            converted = convert(event)
            if converted is not None:
                yield converted


Status = Literal["completed", "interrupted", "diverged", "failed"]


@dataclass(frozen=True)
class DataUsed:
    """The data of a run.

    Attributes:
        name: `fashion-mnist` or `synthetic`.
        source: the folder that it was read from, and what that folder is.
        verified: whether every file has the published SHA-256; None for generated data.
        train_images, validation_images, test_images: how many images each split has.
    """

    name: str
    source: str
    verified: bool | None
    train_images: int
    validation_images: int
    test_images: int


@dataclass(frozen=True)
class EpochEnded:
    """The result of one epoch. Accuracies are fractions.

    Attributes:
        epoch: counted from 1.
        loss, train_acc: means over the epoch's steps, each taken before the weights were updated.
        test_acc: after the epoch; norms predict with their moving statistics.
        validation_acc: the same on held-out training images; None where none are held out.
        examples_per_second: training examples over wall time, data included and evaluation
            excluded. Warm-up steps do not count; None in an epoch that had no others.
        compute_examples_per_second: the same, with time counted from when each batch was there.
        seconds: wall time of the epoch, evaluation included.
        test_acc_population, test_acc_batch: test accuracy with these statistics instead; None
            where the config does not ask for them or no norm keeps moving statistics.
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
class Plan:
    """How many `epochs` a run shall have in all, decided before its epoch `first`."""

    first: int
    epochs: int


@dataclass(frozen=True)
class RunStarted:
    """A run starts, or continues.

    Attributes:
        norm, seed, epochs: from the config.
        device, machine: the device, and its name for humans.
        steps_per_epoch: the last, smaller batch included.
        data: the images.
        finished: the epochs that earlier sessions have finished.
        engine: how steps are executed, `eager` or `compiled`.
        engine_chosen: why this engine, where it was chosen and not named.
        plans: how long the run was to be at first, and whenever that changed. Older runs have none.
        processes: how many train together in this session.
        hosts: the name of each one's machine, by rank; empty for one process.
        norm_statistics: what norms over the batch normalize by where there are several processes:
            `synced` or `local`; else empty.
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
    plans: tuple[Plan, ...] = ()
    processes: int = 1
    hosts: tuple[str, ...] = ()
    norm_statistics: str = ""


@dataclass(frozen=True)
class Progress:
    """A point within an epoch: means over the epoch's first `step` steps."""

    epoch: int
    step: int
    loss: float
    accuracy: float
    examples_per_second: float | None


@dataclass(frozen=True)
class Notice:
    """A sentence that the user should read."""

    message: str


@dataclass(frozen=True)
class Activity:
    """What the work does from here on, until its next event, where it counts nothing."""

    name: str


@dataclass(frozen=True)
class Probed:
    """What an instrument saw of a training between two steps.

    Attributes:
        probe: the instrument's name.
        step: how many steps of the run were taken before.
        values: by layer, then by what was measured.
    """

    probe: str
    step: int
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class CheckpointReady:
    """All that a run needs to continue after an epoch: tensors and plain values."""

    epoch: int
    state: Mapping[str, Any]


@dataclass(frozen=True)
class RunEnded:
    """A run has ended: how, why (for humans), and the throughputs of the whole run."""

    status: Status
    examples_per_second: float | None
    compute_examples_per_second: float | None
    reason: str | None = None


Event = RunStarted | Progress | EpochEnded | Probed | Notice | Activity | CheckpointReady | RunEnded


@dataclass(frozen=True)
class Stage:
    """A point in work other than training: `done` of `total` parts."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class Fetching:
    """Data is arriving from a source: bytes received so far, and bytes expected."""

    source: str
    received: int
    expected: int
