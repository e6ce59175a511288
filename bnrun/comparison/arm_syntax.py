"""Parse arms as users write them: a norm, or `name=norm,key=value,…` to vary anything else."""

import re
from collections.abc import Sequence
from pathlib import Path

from bnrun.comparison.arms import Arm
from bnrun.comparison.plan import check_arms
from bnrun.config import Assignment, parse_override, resolve
from bnrun.config.resolve import read_file
from bnrun.config.schema import Statistics
from bnrun.errors import ConfigError, NormError
from bnrun.norms import check_norm

ALWAYS_EVALUATED: tuple[Statistics, ...] = ("moving", "population")
"""Kinds of statistics that every arm is evaluated with, whatever its config names."""

_NAMED = re.compile(r"(?P<name>[^=,/:]+)=(?P<norm>[^,]*)(?P<rest>,.*)?", re.DOTALL)
_NEXT_KEY = re.compile(r",(?=\s*[\w.]+=)")  # not a comma within a value, such as [a, b]


def build_arms(
    texts: Sequence[str], config: Path | None, overrides: Sequence[Assignment] = ()
) -> tuple[Arm, ...]:
    """Return the arms that are written as `texts`.

    Each arm's own keys win over the overrides for all, these over the file, and that over the
    defaults. Every arm is evaluated with moving and population statistics, whatever its config
    names.

    Raises:
        ConfigError: there are fewer than two arms, two of one name, or a key differs that arms must
            share; or a config is not acceptable.
        NormError: a norm does not exist.
    """
    if len(texts) < 2:
        raise ConfigError(
            f"compare takes two arms or more, received {len(texts)}. For example: bnrun compare "
            "scratch builtin"
        )
    shared = [*(read_file(config) if config else ()), *overrides]
    arms = tuple(_evaluated(parse_arm(text, shared)) for text in texts)
    check_arms(arms)
    return arms


def parse_arm(text: str, shared: Sequence[Assignment]) -> Arm:
    """Return the arm that is written as `text`, its own keys over those shared by all.

    Raises:
        ConfigError, NormError: it is not acceptable.
    """
    name, own = _split(text)
    config = resolve(None, [*shared, *own]).config
    try:
        check_norm(config.model.norm)
    except NormError as error:  # the user wrote an arm, and no key
        raise NormError(error.reason, source=f"arm {text}") from error
    return Arm(name, config)


def _evaluated(arm: Arm) -> Arm:
    """Return the arm with the kinds of statistics that every arm is evaluated with."""
    own = arm.config.training.evaluate
    more = [kind for kind in own if kind not in ALWAYS_EVALUATED]
    return Arm(arm.name, arm.config.with_training(evaluate=(*ALWAYS_EVALUATED, *more)))


def _split(text: str) -> tuple[str, list[Assignment]]:
    """Split an arm into its name and its own assignments."""
    source = f"arm {text}"
    if "=" not in text:
        norm = text.strip()
        return norm.rpartition(":")[2], [Assignment("model.norm", norm, source)]
    named = _NAMED.fullmatch(text)
    if named is None or not named["norm"].strip() or "." in named["name"]:
        raise ConfigError(
            f"{source}: an arm is a norm, or NAME=NORM,KEY=VALUE,… such as "
            "max=scratch,model.pool=max"
        )
    own = [Assignment("model.norm", named["norm"].strip(), source)]
    if named["rest"] is not None:
        for part in _NEXT_KEY.split(named["rest"].removeprefix(",")):
            own += parse_override(part, source)
    return named["name"].strip(), own
