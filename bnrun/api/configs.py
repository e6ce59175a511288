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
"""A config; a YAML file, or the name of a config that comes with bnrun; None for the defaults."""


def load_config(config: ConfigLike = None, *, overrides: Mapping[str, Any] | None = None) -> Config:
    """Return a config, to look at or to train with.

    Args:
        config: a YAML file, or the name of a config that comes with bnrun, such as `lenet_fast`
            (`bnrun configs` lists them); a `Config`; or None for the defaults.
        overrides: config keys with other values, such as `{"optimizer.lr": 0.5}`.

    Raises:
        ConfigError: there is no such file and no such config, or a key or value is not acceptable.

    Example:
        >>> import bnrun
        >>> bnrun.load_config("lenet_fast", overrides={"training.epochs": 4}).training.epochs
        4
    """
    return resolve_config(config, overrides).config


def resolve_config(
    config: ConfigLike, overrides: Mapping[str, Any] | None = None, **keywords: Any
) -> Resolved:
    """Return a config with what is given over it (see `shared_assignments`).

    Raises:
        ConfigError: naming the key, the value received, and what is required.
    """
    return resolve(*shared_assignments(config, overrides, **keywords))


def shared_assignments(
    config: ConfigLike, overrides: Mapping[str, Any] | None = None, **keywords: Any
) -> tuple[Path | None, list[Assignment]]:
    """Return the file to start from, if any, and the assignments over it, of which the last wins.

    Args:
        config: what to start from.
        overrides: values by dotted key.
        keywords: values by the short names of `bnrun.config.KEYWORDS`; None changes nothing.
    """
    path = Path(config) if isinstance(config, str | Path) else None
    given = config_assignments(config.to_dict(), "config") if isinstance(config, Config) else []
    given += [Assignment(key, value, "overrides") for key, value in (overrides or {}).items()]
    return path, given + keyword_assignments(**keywords)


def recorded_config(checkpoint: Mapping[str, Any], **keywords: Any) -> Config:
    """Return the config that a checkpoint was trained with, with keyword arguments over it.

    Raises:
        ConfigError: naming the key, the value received, and what is required.
    """
    trained = config_assignments(checkpoint["config"], "the checkpoint")
    return resolve(None, trained + keyword_assignments(**keywords)).config
