"""Arms as users write them: a norm, or `name=norm,key=value,…` to vary anything else."""

import re
from collections.abc import Sequence
from pathlib import Path

from bnrun.comparison.outcome import Arm
from bnrun.config import Assignment, parse_override, resolve
from bnrun.config.difference import config_difference
from bnrun.config.resolve import read_file
from bnrun.config.schema import SEED_LIMIT, Statistics
from bnrun.errors import ConfigError
from bnrun.norms import check_norm

SHARED = ("training.seed", "training.device", "data.name", "data.root", "data.validation")
"""What arms must have in common: without it their trials would not be pairs."""

ALWAYS_EVALUATED: tuple[Statistics, ...] = ("moving", "population")

_NAMED = re.compile(r"(?P<name>[^=,/:]+)=(?P<norm>[^,]*)(?P<rest>,.*)?", re.DOTALL)
_NEXT_KEY = re.compile(r",(?=\s*[\w.]+=)")  # a comma within a value, `[a, b]`, is not one


def build_arms(
    texts: Sequence[str], config: Path | None, overrides: Sequence[Assignment] = ()
) -> tuple[Arm, ...]:
    """Resolve every arm: its own keys over the overrides, over the file, over the defaults.

    Every arm is evaluated with moving and population statistics, whatever the config names.

    Raises:
        ConfigError: there are fewer than two, two of one name, or a key that arms must share; or
            a config is not acceptable.
        NormError: a norm does not exist.
    """
    if len(texts) < 2:
        raise ConfigError(
            f"compare takes two arms or more, received {len(texts)}. For example: bnrun compare "
            "scratch builtin"
        )
    stated = [*(read_file(config) if config else ()), *overrides]
    arms = tuple(_build(text, stated) for text in texts)
    check_plan(arms)
    return arms


def check_plan(arms: Sequence[Arm], seeds: Sequence[int] = (0,)) -> None:
    """Check that arms can be compared over seeds.

    Raises:
        ConfigError: there are fewer than two arms, two of one name, a name that is none, or a key
            differs that arms must share; or there is no seed, or one is none, or stands twice.
    """
    if len(arms) < 2 or not seeds:
        raise ConfigError("a comparison is of two arms or more, over one seed or more.")
    check_names([arm.name for arm in arms])
    first = arms[0]
    for arm in arms:
        for found in config_difference(first.config.to_dict(), arm.config.to_dict()):
            if found.key in SHARED:
                raise ConfigError(
                    f"arm {arm.name}: {found.key} can't differ between arms, whose trials share "
                    f"seed, images and device to be pairs. For all of them: --set {found.key}=…"
                )
    for seed in seeds:
        if not 0 <= seed < SEED_LIMIT or list(seeds).count(seed) > 1:
            raise ConfigError(
                f"seeds {', '.join(map(str, seeds))}: they must be different whole numbers from 0 "
                f"to {SEED_LIMIT - 1}."
            )


def check_names(names: Sequence[str]) -> None:
    """Check the names of arms.

    Raises:
        ConfigError: one is none, or stands twice.
    """
    for name in names:
        _check_name(name)
        if names.count(name) > 1:
            raise ConfigError(
                f"arm {name}: there are two of this name. Give one of them another, as in "
                "other=scratch,model.pool=max"
            )


def parse_arm(text: str, stated: Sequence[Assignment]) -> Arm:
    """Resolve an arm's config: its own keys over what is stated for all.

    Raises:
        ConfigError, NormError: it is not acceptable.
    """
    name, own = _parse(text)
    config = resolve(None, [*stated, *own]).config
    check_norm(config.model.norm)
    return Arm(name, config)


def _build(text: str, stated: Sequence[Assignment]) -> Arm:
    arm = parse_arm(text, stated)
    config = arm.config
    more = [kind for kind in config.training.evaluate if kind not in ALWAYS_EVALUATED]
    training = config.training.model_copy(update={"evaluate": (*ALWAYS_EVALUATED, *more)})
    return Arm(arm.name, config.model_copy(update={"training": training}))


def _parse(text: str) -> tuple[str, list[Assignment]]:
    """Split an arm into its name and what it states."""
    source = f"arm {text}"
    if "=" not in text:
        name = text.strip()
        return name.rpartition(":")[2], [Assignment("model.norm", name, source)]
    named = _NAMED.fullmatch(text)
    if named is None or not named["norm"].strip() or "." in named["name"]:
        raise ConfigError(
            f"{source}: an arm is a norm, or NAME=NORM,KEY=VALUE,… such as "
            "max=scratch,model.pool=max"
        )
    stated = [Assignment("model.norm", named["norm"].strip(), source)]
    if named["rest"] is not None:
        for part in _NEXT_KEY.split(named["rest"].removeprefix(",")):
            stated += parse_override(part, source)
    return named["name"].strip(), stated


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.-]{0,39}", name):
        raise ConfigError(
            f"arm {name}: received the name '{name}'; it must be made of at most 40 letters, "
            "digits, _, . and -, as in max=scratch,model.pool=max"
        )
