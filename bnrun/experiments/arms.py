"""Arms as users write them: a norm, or `name=norm,key=value,…` to vary anything else."""

import re
from collections.abc import Sequence
from pathlib import Path

from bnrun.config import Assignment, parse_override, resolve
from bnrun.errors import ConfigError
from bnrun.experiments.comparison import Arm
from bnrun.norms import check_norm

SHARED = ("training.seed", "training.device", "data.name", "data.root", "data.validation")
"""What arms must have in common: without it their trials would not be pairs."""

ALWAYS_EVALUATED = ["moving", "population"]

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
    arms = tuple(_build(text, config, overrides) for text in texts)
    seen: dict[str, str] = {}
    for arm, text in zip(arms, texts, strict=True):
        if arm.name in seen:
            raise ConfigError(
                f"arm {text}: the name '{arm.name}' is that of arm {seen[arm.name]} already. Give "
                f"one of them another: other={arm.config.model.norm}"
            )
        seen[arm.name] = text
    return arms


def _build(text: str, config: Path | None, overrides: Sequence[Assignment]) -> Arm:
    name, stated = _parse(text)
    resolved = resolve(config, [*overrides, *stated]).config
    check_norm(resolved.model.norm)
    evaluate = [*ALWAYS_EVALUATED]
    evaluate += [kind for kind in resolved.training.evaluate if kind not in evaluate]
    evaluated = Assignment("training.evaluate", evaluate, "compare")
    return Arm(name, resolve(config, [*overrides, *stated, evaluated]).config)


def _parse(text: str) -> tuple[str, list[Assignment]]:
    """Split an arm into its name and what it states."""
    source = f"arm {text}"
    if "=" not in text:
        norm = text.strip()
        return _checked_name(norm.rpartition(":")[2], text), [
            Assignment("model.norm", norm, source)
        ]
    named = _NAMED.fullmatch(text)
    if named is None or not named["norm"].strip() or "." in named["name"]:
        raise ConfigError(
            f"{source}: an arm is a norm, or NAME=NORM,KEY=VALUE,… such as "
            "max=scratch,model.pool=max"
        )
    stated = [Assignment("model.norm", named["norm"].strip(), source)]
    if named["rest"] is not None:
        for part in _NEXT_KEY.split(named["rest"].removeprefix(",")):
            stated += parse_override(part, f"{source}:")
    for assignment in stated:
        if assignment.key in SHARED:
            raise ConfigError(
                f"{source}: {assignment.key} can't differ between arms, whose trials share seed, "
                f"images and device to be pairs. For all of them: --set {assignment.key}=…"
            )
    return _checked_name(named["name"].strip(), text), stated


def _checked_name(name: str, text: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,39}", name):
        raise ConfigError(
            f"arm {text}: received the name '{name}'; it must be made of at most 40 letters, "
            "digits, _, . and -, as in max=scratch,model.pool=max"
        )
    return name
