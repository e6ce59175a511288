"""What can go wrong, as a tree.

BnrunError                  what was asked cannot be done             exit code 2
├── ConfigError             a config file, a key or a value
├── DataError               Fashion-MNIST is missing, damaged or out of reach
├── DeviceError             the device is not on this machine
├── EngineError             a training step can't be compiled on this machine
├── NormError               a norm cannot be found, imported or built
├── RunError                a run directory cannot be read or written
└── TrainingFailed          the work began, and failed                exit code 1

Every message names the field or file, the value received, what is required, and the next step.
"""

import difflib
from collections.abc import Iterable

WORK_FAILED = 1  # the exit code where what was asked was done, and came out badly


class BnrunError(Exception):
    """What was asked cannot be done. `exit_code` is what the command line ends with."""

    exit_code = 2


class ConfigError(BnrunError):
    """A config file, a key or a value is not acceptable."""


class DataError(BnrunError):
    """Fashion-MNIST is missing, damaged or out of reach."""


class DeviceError(BnrunError):
    """The device asked for is not on this machine."""


class EngineError(BnrunError):
    """A training step cannot be compiled on this machine."""


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
