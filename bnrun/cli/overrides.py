"""Config overrides from command-line options: `--set`, and the options that set a key."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnrun.config import Assignment, parse_override
from bnrun.errors import BnrunError, ConfigError

OPTION_KEYS = {
    "images": "training.population_images",
    "norm": "model.norm",
    "epochs": "training.epochs",
    "seed": "training.seed",
    "device": "training.device",
}
"""The config key that each of these options sets."""


def config_overrides(sets: Sequence[str] | None, **options: Any) -> list[Assignment]:
    """Return the overrides of a command line: each `--set` in turn, then the other options.

    Args:
        sets: the values of `--set`.
        options: the values of options that set a key, by name; None where one was not given.

    Raises:
        ConfigError: a `--set` is not KEY=VALUE.
    """
    return [assignment for text in sets or () for assignment in parse_override(text)] + [
        Assignment(OPTION_KEYS[name], value, f"--{name}")
        for name, value in options.items()
        if value is not None
    ]


@contextlib.contextmanager
def option_names(**options: Any) -> Iterator[None]:
    """Name the option in errors about a key that the option has set.

        with option_names(device=device):
            pick_device(device or "auto")  # "--device: received 'cuda', which is not …"

    Args:
        options: as in `config_overrides`.
    """
    given = {OPTION_KEYS[name]: f"--{name}" for name, value in options.items() if value is not None}
    try:
        yield
    except BnrunError as error:
        rename_key(error, given)
        raise


def rename_key(error: BnrunError, names: Mapping[str, str]) -> None:
    """Replace the key of an error, if it is one of these, by the name that a user knows it by."""
    if error.key is not None:
        error.key = names.get(error.key, error.key)
    if isinstance(error, ConfigError):
        for other in error.others:
            rename_key(other, names)
