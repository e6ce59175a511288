"""Parse arms as users write them: a norm, or `name=norm,key=value,…` to vary anything else.

A norm may have options: `slow=builtin(momentum=0.01),training.epochs=20`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from bnrun.comparison.arms import Arm
from bnrun.comparison.plan import check_arms
from bnrun.comparison.sweep import Sweep, variations
from bnrun.config import Assignment, parse_override, resolve, yaml_text
from bnrun.config.norm_call import norm_call, parse_norm_call, split_at_commas
from bnrun.config.resolve import read_file
from bnrun.config.schema import Statistics
from bnrun.errors import ConfigError, NormError
from bnrun.norms import checked_config

ALWAYS_EVALUATED: tuple[Statistics, ...] = ("moving", "population")
"""Kinds of statistics that every arm is evaluated with, whatever its config names."""

_NAMED = re.compile(r"(?P<name>[^=,/:()]+)=(?P<norm>.*)", re.DOTALL)
_STARTS_WITH_KEY = re.compile(r"\s*[\w.]+=")


def build_arms(
    texts: Sequence[str],
    config: Path | None,
    overrides: Sequence[Assignment] = (),
    sweeps: Sequence[Sweep] = (),
) -> tuple[Arm, ...]:
    """Return the arms that are written as `texts`, each with every combination of swept values.

    Swept values and each arm's own keys win over the overrides for all, these over the file, and
    that over the defaults. Without any text, the sweeps vary the config as it is. Every arm is
    evaluated with moving and population statistics, whatever its config names.

    Raises:
        ConfigError: there are fewer than two arms, two of one name, or a key differs that arms must
            share; an override names a norm, though arms do; a config is not acceptable; or a sweep
            is not (see `sweep.py`).
        NormError: a norm does not exist.
    """
    if len(texts) < 2 and not sweeps:
        raise ConfigError(
            f"compare takes two arms or more, received {len(texts)}. For example: bnrun compare "
            "scratch builtin"
        )
    if texts:
        refuse_norm_of_all(overrides)
    shared = [*(read_file(config) if config else ()), *overrides]
    arms = _swept(texts, shared, sweeps) if sweeps else [parse_arm(text, shared) for text in texts]
    check_arms(arms)
    return tuple(map(_evaluated, arms))


def refuse_norm_of_all(overrides: Sequence[Assignment]) -> None:
    """Refuse an override of the norm, which would change nothing: every arm names its own.

    A config file may name a norm: it is a whole config, and what arms start from.

    Raises:
        ConfigError: there is one.
    """
    for override in overrides:
        if override.key == "model.norm":
            raise ConfigError(
                f"received {yaml_text.inline(override.value)}; arms are norms, so this changes "
                "nothing. Fix: leave it out, or name this norm among the arms.",
                key=override.key,
                source=override.source,
            )


def parse_arm(text: str, shared: Sequence[Assignment]) -> Arm:
    """Return the arm that is written as `text`, its own keys over those shared by all.

    Raises:
        ConfigError, NormError: it is not acceptable.
    """
    name, own = _split(text)
    return _arm(name, [*shared, *own], f"arm {text}")


def _swept(
    texts: Sequence[str], shared: Sequence[Assignment], sweeps: Sequence[Sweep]
) -> list[Arm]:
    """Return an arm for each text and each combination of swept values."""
    bases = [_split(text) for text in texts] or [("", [])]
    own_of_all = [assignment for _, own in bases for assignment in own]
    combinations = variations(sweeps, len(bases), own_of_all)
    arms = []
    for name, own in bases:
        for variation in combinations:
            full = f"{name}-{variation.name}" if len(bases) > 1 else variation.name
            arms.append(_arm(full, [*shared, *own, *variation.assignments], f"arm {full}"))
    return arms


def _arm(name: str, assignments: Sequence[Assignment], source: str) -> Arm:
    """Return the arm that assignments make.

    Raises:
        ConfigError: they are not acceptable.
        NormError: its norm does not exist.
    """
    resolved = resolve(None, assignments)
    try:
        config = checked_config(resolved).config
    except NormError as error:  # the user wrote an arm, and no key
        raise NormError(error.reason, source=source) from error
    return Arm(name, config)


def _evaluated(arm: Arm) -> Arm:
    """Return the arm with the kinds of statistics that every arm is evaluated with."""
    own = arm.config.training.evaluate
    more = [kind for kind in own if kind not in ALWAYS_EVALUATED]
    return Arm(arm.name, arm.config.with_training(evaluate=(*ALWAYS_EVALUATED, *more)))


def _split(text: str) -> tuple[str, list[Assignment]]:
    """Split an arm into its name and its own assignments."""
    source = f"arm {text}"
    first, *rest = _parts(text)
    named = _NAMED.fullmatch(first)
    norm, options = parse_norm_call(named["norm"] if named else first, source)
    name = named["name"].strip() if named else norm_call(norm.rpartition(":")[2], options or {})
    if (named and not norm) or "=" in norm or (named and "." in name):
        raise ConfigError(
            f"{source}: an arm is a norm, or NAME=NORM,KEY=VALUE,… such as "
            "max=scratch,model.pool=max"
        )
    own = [Assignment("model.norm", norm, source)]
    if options is not None:
        own.append(Assignment("model.norm_options", options, source))
    for part in rest:
        own += parse_override(part, source)
    return name, own


def _parts(text: str) -> list[str]:
    """Split an arm at the commas before its keys; others belong to a value."""
    parts: list[str] = []
    for part in split_at_commas(text):
        if len(parts) > 1 and not _STARTS_WITH_KEY.match(part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts
