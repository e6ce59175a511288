"""Sweeps: a config key and several values, which make an arm for each value.

    optimizer.lr=0.01,0.1,1      the arms lr=0.01, lr=0.1 and lr=1

Several sweeps make an arm for every combination of their values.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bnrun.comparison.plan import MAX_ARMS, SHARED_KEYS
from bnrun.config import Assignment, yaml_text
from bnrun.config.norm_call import split_at_commas
from bnrun.errors import ConfigError

OPTION = "--sweep"


@dataclass(frozen=True)
class Sweep:
    """A config key, and the values that arms are made with."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Variation:
    """What makes an arm of a sweep: its own assignments, and the name that they give it."""

    name: str
    assignments: tuple[Assignment, ...]


def parse_sweep(text: str) -> Sweep:
    """Parse `KEY=VALUE,VALUE,…`, with values in YAML: a comma within brackets separates none.

    Raises:
        ConfigError: it is not that.
    """
    key, equals, values = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"received '{text}'; a sweep is KEY=VALUE,VALUE,… such as optimizer.lr=0.01,0.1,1",
            key=OPTION,
        )
    parts = split_at_commas(values) if values.strip() else []
    parsed = (yaml_text.parse(part, f"{OPTION} {text}").value for part in parts)
    return Sweep(key.strip(), tuple(parsed))


def make_sweep(key: str, values: object) -> Sweep:
    """Return the sweep of a key over a list of values, as a caller in Python gives it.

    Raises:
        ConfigError: the values are no list.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"received {values!r}; it must be a list of values.", key, "sweep")
    return Sweep(key, tuple(values))


def check_sweep(sweep: Sweep) -> None:
    """Check that a sweep can make arms. Whether its key and values exist, the config knows.

    Raises:
        ConfigError: it has one value or none, one of them twice, or a key that arms must share.
    """
    source = f"{OPTION} {sweep.key}"
    if sweep.key in SHARED_KEYS:
        instead = " `--seeds N` trains every arm with N seeds." if "seed" in sweep.key else ""
        raise ConfigError(
            "arms must have this key in common, since their trials share seed, images and device "
            f"to be pairs.{instead}",
            source=source,
        )
    if len(sweep.values) < 2:
        raise ConfigError(
            f"received {len(sweep.values) or 'no'} value{'s' if not sweep.values else ''}; a sweep "
            f"takes two or more, such as optimizer.lr=0.01,0.1,1. For one value: --set "
            f"{sweep.key}=…",
            source=source,
        )
    repeated = [value for value in sweep.values if sweep.values.count(value) > 1]
    if repeated:
        raise ConfigError(f"received {yaml_text.inline(repeated[0])} twice.", source=source)


def variations(sweeps: Sequence[Sweep], arms: int, own: Sequence[Assignment]) -> list[Variation]:
    """Return every combination of the sweeps' values, those of the last sweep changing fastest.

    Args:
        sweeps: their keys must differ.
        arms: how many arms are to be varied.
        own: what the arms set themselves; no swept key may be among it.

    Raises:
        ConfigError: a sweep is not acceptable (see `check_sweep`), a key is there twice, or the
            combinations make too many arms.
    """
    for sweep in sweeps:
        check_sweep(sweep)
    keys = [sweep.key for sweep in sweeps]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError("is given twice; one sweep takes all values.", key, OPTION)
    for assignment in own:
        if assignment.key in keys:
            raise ConfigError(
                f"{OPTION} gives this key its values, so an arm can't set it.",
                assignment.key,
                assignment.source,
            )
    count = arms * math.prod(len(sweep.values) for sweep in sweeps)
    if count > MAX_ARMS:
        raise ConfigError(
            f"that makes {count:,} arms, which are {count:,} trainings for each seed; a comparison "
            f"takes at most {MAX_ARMS} arms.",
            OPTION,
        )
    return list(_variations(sweeps))


def _variations(sweeps: Sequence[Sweep]) -> Iterator[Variation]:
    for values in itertools.product(*(sweep.values for sweep in sweeps)):
        pairs = [(sweep.key, value) for sweep, value in zip(sweeps, values, strict=True)]
        yield Variation(
            name="-".join(_name(key, value) for key, value in pairs),
            assignments=tuple(Assignment(key, value, OPTION) for key, value in pairs),
        )


def _name(key: str, value: Any) -> str:
    """Return the part of an arm's name that a value gives it: `lr=0.1`, `pool=max`."""
    text = yaml_text.inline(value).rpartition(":")[2]  # of a norm in a file, the class
    readable = re.sub(r"[^\w.+-]+", "-", text).strip("-")
    return f"{key.rpartition('.')[2]}={readable}"
