"""The error tree of bnrun, and the exit code of each branch.

BnrunError                  what was asked cannot be done             exit code 2
├── ConfigError             a config file, a key or a value
├── DataError               Fashion-MNIST is missing, damaged or out of reach
├── DeviceError             the device is not on this machine
├── EngineError             an engine cannot run on this machine
├── NormError               a norm cannot be found, imported or built
├── RunError                a run directory cannot be read or written
└── TrainingFailed          the work began, and failed                exit code 1

Every message names the field or file, the value received, what is required, and the next step.
"""

import difflib
from collections.abc import Iterable

WORK_FAILED = 1
"""Exit code of work that ran and came out badly: diverged, raised, or failed a check."""


class BnrunError(Exception):
    """What was asked cannot be done.

    Args:
        reason: what is wrong, what is required, and the next step.
        key: the config key or option that the error is about, such as `training.device`. Callers
            that know a better name for it (`--device`) may replace it.

    `str(error)` is `key: reason`, or the reason alone where there is no key. `exit_code` is what
    the command line ends with.
    """

    exit_code = 2

    def __init__(self, reason: str, key: str | None = None) -> None:
        super().__init__(reason, key)  # both, so that the error can be pickled
        self.reason = reason
        self.key = key

    def __str__(self) -> str:
        return self.reason if self.key is None else f"{self.key}: {self.reason}"


class ConfigError(BnrunError):
    """A config file, a key or a value is not acceptable."""


class DataError(BnrunError):
    """Fashion-MNIST is missing, damaged or out of reach."""


class DeviceError(BnrunError):
    """The device asked for is not on this machine."""


class EngineError(BnrunError):
    """An engine cannot run on this machine, or cannot run this model."""


class NormError(BnrunError):
    """A norm cannot be found, imported or built."""


class RunError(BnrunError):
    """A run directory cannot be read or written."""


class TrainingFailed(BnrunError):
    """Training began and then failed, in a user's own layer for example."""

    exit_code = WORK_FAILED


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ' Did you mean …?' for a near miss, and nothing where none is near."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
