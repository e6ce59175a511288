"""What a number must be, in words: `a whole number, 1 or more`."""

from collections.abc import Mapping

from bnrun.config.schema import SECTIONS

_BOUNDS = {"ge": "{} or more", "gt": "above {}", "le": "{} or less", "lt": "below {}"}
"""The words for each kind of bound, by its name in pydantic."""


def number_requirement(whole: bool, bounds: Mapping[str, float | None]) -> str:
    """Return what a number must be.

    Args:
        whole: whether it must be a whole number.
        bounds: its bounds, by their names in pydantic; None for a number without bounds.
    """
    kind = "a whole number" if whole else "a number"
    limits = [
        words.format(bounds[name])
        for name, words in _BOUNDS.items()
        if bounds.get(name) is not None
    ]
    return f"{kind}, {' and '.join(limits)}" if limits else kind


def key_requirement(key: str) -> str:
    """Return what the number of a config key must be."""
    section, name = key.split(".")
    field = SECTIONS[section].model_fields[name]
    bounds = {
        bound: getattr(part, bound)
        for part in field.metadata
        for bound in _BOUNDS
        if hasattr(part, bound)
    }
    requirement = number_requirement(field.annotation in (int, int | None), bounds)
    return requirement if field.annotation in (int, float) else f"{requirement}, or null"
