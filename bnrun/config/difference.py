"""What differs between two configs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bnrun.config.schema import KEYS

RECORDING_KEYS = (
    "training.evaluate",
    "training.keep_every",
    "training.probe",
    "training.probe_every",
)
"""Config keys that say what is measured and kept of a training, and change nothing in it."""


@dataclass(frozen=True)
class Difference:
    """A key, and the two values that it has."""

    key: str
    a: Any
    b: Any


def config_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the dotted keys in which two configs, as dicts, differ, in the schema's order."""
    return value_differences(KEYS, flat_config(a), flat_config(b))


def value_differences(
    keys: Iterable[str], a: Mapping[str, Any], b: Mapping[str, Any]
) -> tuple[Difference, ...]:
    """Return those of the keys whose values differ between two flat mappings."""
    pairs = (Difference(key, a.get(key), b.get(key)) for key in keys)
    return tuple(pair for pair in pairs if pair.a != pair.b)


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a config, as a dict, by dotted key."""
    return {
        f"{section}.{name}": value
        for section, values in config.items()
        for name, value in values.items()
    }
