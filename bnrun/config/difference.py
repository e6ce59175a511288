"""In what two configs differ."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bnrun.config.schema import KEYS


@dataclass(frozen=True)
class Difference:
    """A key, and its two differing values."""

    key: str
    a: Any
    b: Any


def config_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the dotted keys in which two configs' documents differ, in the schema's order."""
    return differing(KEYS, _flat(a), _flat(b))


def differing(
    keys: Iterable[str], a: Mapping[str, Any], b: Mapping[str, Any]
) -> tuple[Difference, ...]:
    """Return those keys of two flat mappings whose values differ."""
    pairs = (Difference(key, a.get(key), b.get(key)) for key in keys)
    return tuple(pair for pair in pairs if pair.a != pair.b)


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section in document
        for name, value in document[section].items()
    }
