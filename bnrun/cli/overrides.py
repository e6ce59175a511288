"""Config overrides from command-line options: `--set`, and the options that set a key."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnrun.config import Assignment, keyword_assignments, parse_override
from bnrun.errors import BnrunError, ConfigError


def config_overrides(sets: Sequence[str] | None, **options: Any) -> list[Assignment]:
    """Return the overrides of a command line: each `--set` in turn, then the other options.

    Args:
        sets: the values of `--set`.
        options: the values of options that set a key, by name; None where one was not given.

    Raises:
        ConfigError: a `--set` is not KEY=VALUE.
    """
    parsed = [assignment for text in sets or () for assignment in parse_override(text)]
    return parsed + keyword_assignments("--{}", **options)


def option_names(**options: Any) -> contextlib.AbstractContextManager[None]:
    """Return a context that names the option in errors about a key that the option has set.

        with option_names(device=device):
            pick_device(device or "auto")  # "--device: received 'cuda', which is not …"

    Args:
        options: as in `config_overrides`.
    """
    return renamed_keys({a.key: a.source for a in keyword_assignments("--{}", **options)})


@contextlib.contextmanager
def renamed_keys(names: Mapping[str, str]) -> Iterator[None]:
    """Replace the keys of errors by the names that users know them by, where these have one."""
    try:
        yield
    except BnrunError as error:
        _rename_key(error, names)
        raise


def _rename_key(error: BnrunError, names: Mapping[str, str]) -> None:
    if error.key is not None:
        error.key = names.get(error.key, error.key)
    if isinstance(error, ConfigError):
        for other in error.others:
            _rename_key(other, names)
