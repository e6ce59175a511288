"""Parse the arms of `bnrun bench` as users write them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnrun.comparison.arm_syntax import parse_arm, refuse_norm_of_all
from bnrun.comparison.plan import check_names
from bnrun.config import Assignment, Config, resolve
from bnrun.config.difference import config_difference
from bnrun.config.resolve import read_file
from bnrun.errors import ConfigError

LOOP = "loop:"
MAX_WORKERS = 64
SHARED_KEYS = (
    "training.device", "training.batch_size",
    "data.name", "data.root", "data.validation", "data.images",
)  # fmt: skip
"""Config keys that arms must have in common: without them their times are of different work."""

DEFAULT_ARMS = (
    "loop:4 loop:0 scratch builtin eager=scratch,training.engine=eager "
    "builtin-eager=builtin,training.engine=eager"
)


@dataclass(frozen=True)
class BenchArm:
    """What is timed: the training of a config; with `workers`, the textbook's loop instead."""

    name: str
    config: Config
    workers: int | None = None

    @property
    def is_loop(self) -> bool:
        """Return whether it is the textbook's loop."""
        return self.workers is not None

    @property
    def norm(self) -> str:
        """Return the norm that is trained."""
        return "textbook" if self.is_loop else self.config.model.norm_call


def bench_arms(
    texts: Sequence[str], config: Path | None, overrides: Sequence[Assignment] = ()
) -> tuple[BenchArm, ...]:
    """Return the arms that are written as `texts`, of which each may hold several.

    An arm is `loop:N`, the textbook's loop with N loader workers, or what `compare` takes.

    Raises:
        ConfigError, NormError: one is not acceptable.
    """
    refuse_norm_of_all(overrides)
    shared = [*(read_file(config) if config else ()), *overrides]
    base = resolve(None, shared).config
    words = [word for text in texts for word in _words(text)]
    arms = tuple(_bench_arm(word, shared, base) for word in words)
    if not arms:
        raise ConfigError(f"name one arm or more, such as --arms '{DEFAULT_ARMS}'.", "--arms")
    check_names([arm.name for arm in arms])
    for arm in arms:
        for difference in config_difference(arms[0].config.to_dict(), arm.config.to_dict()):
            if difference.key in SHARED_KEYS:
                raise ConfigError(
                    f"arm {arm.name}: {difference.key} can't differ between arms, whose times "
                    "would not be of the same work. For all of them: --set "
                    f"{difference.key}=…"
                )
    return arms


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"received '{text}': {error}.", "--arms") from None


def _bench_arm(word: str, shared: Sequence[Assignment], base: Config) -> BenchArm:
    if not word.startswith(LOOP):
        arm = parse_arm(word, shared)
        return BenchArm(arm.name, arm.config)
    workers = word.removeprefix(LOOP)
    if not workers.isascii() or not workers.isdigit() or int(workers) > MAX_WORKERS:
        raise ConfigError(
            f"received '{word}'; the textbook's loop is loop:N, with N the workers of its loader, "
            f"0 to {MAX_WORKERS}.",
            "--arms",
        )
    return BenchArm(f"loop-{int(workers)}", base, int(workers))
