"""From what a caller of the Python interface gives to a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnrun.config import (
    Assignment,
    Config,
    Resolved,
    config_assignments,
    keyword_assignments,
    resolve,
)

ConfigLike = Config | str | Path | None
"""A config, the path of a YAML file, or None for the defaults."""


def resolve_config(
    config: ConfigLike, overrides: Mapping[str, Any] | None = None, **keywords: Any
) -> Resolved:
    """Return a config after overrides and then keyword arguments, of which None changes nothing.

    Args:
        config: what to start from.
        overrides: values by dotted key.
        keywords: values by the short names of `bnrun.config.KEYWORDS`.

    Raises:
        ConfigError: naming the key, the value received, and what is required.
    """
    path = Path(config) if isinstance(config, str | Path) else None
    given = config_assignments(config.to_dict(), "config") if isinstance(config, Config) else []
    given += [Assignment(key, value, "overrides") for key, value in (overrides or {}).items()]
    return resolve(path, given + keyword_assignments(**keywords))


def recorded_config(checkpoint: Mapping[str, Any], **keywords: Any) -> Config:
    """Return the config that a checkpoint was trained with, with keyword arguments over it.

    Raises:
        ConfigError: naming the key, the value received, and what is required.
    """
    trained = config_assignments(checkpoint["config"], "the checkpoint")
    return resolve(None, trained + keyword_assignments(**keywords)).config
