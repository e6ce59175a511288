"""From what a caller of the Python interface gives to a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnrun.config import Assignment, Config, Resolved, resolve

KEYS = {
    "norm": "model.norm",
    "epochs": "training.epochs",
    "seed": "training.seed",
    "device": "training.device",
    "images": "training.population_images",
}
"""The keyword arguments that stand for a config key."""

ConfigLike = Config | str | Path | None
"""A config, the path of a YAML file, or None for the defaults."""


def resolve_config(
    config: ConfigLike, overrides: Mapping[str, Any] | None = None, **keywords: Any
) -> Resolved:
    """Return a config with overrides over it and then keyword arguments (see `KEYS`); None is none.

    Raises:
        ConfigError: naming the key, the value received, and what is required.
    """
    path = Path(config) if isinstance(config, str | Path) else None
    assignments = _assignments(config.to_dict(), "config") if isinstance(config, Config) else []
    assignments += [Assignment(key, value, "overrides") for key, value in (overrides or {}).items()]
    assignments += [
        Assignment(KEYS[name], value, name) for name, value in keywords.items() if value is not None
    ]
    return resolve(path, assignments)


def recorded_config(checkpoint: Mapping[str, Any], **keywords: Any) -> Config:
    """Return the config that a checkpoint was trained with, with keyword arguments over it.

    Raises:
        ConfigError: naming the key, the value received, and what is required.
    """
    assignments = _assignments(checkpoint["config"], "the checkpoint")
    assignments += [
        Assignment(KEYS[name], value, name) for name, value in keywords.items() if value is not None
    ]
    return resolve(None, assignments).config


def _assignments(document: Mapping[str, Any], source: str) -> list[Assignment]:
    return [
        Assignment(f"{section}.{name}", value, source)
        for section, values in document.items()
        for name, value in values.items()
    ]
