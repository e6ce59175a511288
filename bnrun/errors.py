"""The error tree of bnrun, and the exit code of each branch.

BnrunError                  what was asked cannot be done             exit code 2
├── ConfigError             a config file, a key or a value
├── DataError               Fashion-MNIST is missing, damaged or out of reach
├── DeviceError             the device is not on this machine
├── EngineError             an engine cannot run on this machine
├── NormError               a norm cannot be found, imported or built
├── ProcessError            the processes of a training cannot come together
├── RunError                a run directory cannot be read or written
└── TrainingFailed          the work began, and failed                exit code 1
    └── ProcessLost         another process of the training ended, or does not answer

Every error names the field or file, the value received, what is required, and the next step.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeVar

Known = TypeVar("Known", bound=str)

WORK_FAILED = 1
"""Exit code of work that ran with a bad outcome: it diverged, raised, or failed a check."""

CANNOT_DO = 2
"""Exit code where what was asked cannot be done."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


NOTHING_KEPT = "nothing was kept; run the command again to start over."
"""What is said after Ctrl-C where there is nothing to continue."""


class BnrunError(Exception):
    """What was asked cannot be done.

    `str(error)` is `source: key: reason`, without the parts that are None.

    Args:
        reason: what is wrong, what is required, and the next step.
        key: the config key or the option that the error is about, such as `training.device`. A
            caller that knows a better name for it (`--device`) may replace it.
        source: where the value came from: a file and its line, or an option.

    Attributes:
        exit_code: what a command that ends with this error exits with.
    """

    exit_code = CANNOT_DO

    def __init__(self, reason: str, key: str | None = None, source: str | None = None) -> None:
        super().__init__(reason, key, source)  # all of them, so that the error can be pickled
        self.reason = reason
        self.key = key
        self.source = source

    def __str__(self) -> str:
        place = dict.fromkeys(part for part in (self.source, self.key) if part is not None)
        return ": ".join([*place, self.reason])  # an option may be both, and is written once


class ConfigError(BnrunError):
    """A config file, a key or a value is not acceptable.

    Attributes:
        others: the errors of further keys, where several are not acceptable. `str(error)` has a
            line for each.
    """

    def __init__(
        self,
        reason: str,
        key: str | None = None,
        source: str | None = None,
        others: "Iterable[ConfigError]" = (),
    ) -> None:
        super().__init__(reason, key, source)
        self.others = tuple(others)
        self.args = (reason, key, source, self.others)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(str, self.others)])


class DataError(BnrunError):
    """Fashion-MNIST is missing, damaged or out of reach."""


class DeviceError(BnrunError):
    """The device that was asked for is not on this machine."""


class EngineError(BnrunError):
    """An engine cannot run on this machine, or cannot run this model."""


class NetworkError(BnrunError):
    """A user's network or its weights cannot be loaded, or the network does not run."""


class NormError(BnrunError):
    """A norm cannot be found, imported or built."""


class ProcessError(BnrunError):
    """The processes of a training cannot come together, or cannot share this machine."""


class RunError(BnrunError):
    """A run directory cannot be read or written."""


class TrainingFailed(BnrunError):
    """Training began and then failed, in a user's own layer for example."""

    exit_code = WORK_FAILED


class ProcessLost(TrainingFailed):
    """Another process of the training has ended, or does not answer."""


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return ' Did you mean …?' for a value close to a known one; else an empty text."""
    near = difflib.get_close_matches(value, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def one_of(known: Sequence[str]) -> str:
    """Return the known values as a sentence lists them: `a, b or c`."""
    *others, last = known
    return f"{', '.join(others)} or {last}" if others else last


def known_value(key: str, value: str, known: Sequence[Known]) -> Known:
    """Return a value, if it is one of the known ones.

    Raises:
        ConfigError: it is not; the message lists those that are.
    """
    match = next((one for one in known if one == value), None)
    if match is None:
        near = did_you_mean(value, known)
        raise ConfigError(f"received '{value}'; it must be {one_of(known)}.{near}", key=key)
    return match
