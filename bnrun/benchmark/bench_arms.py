"""The arms of `bnrun bench`, as users write them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnrun.comparison.arms import check_names, parse_arm
from bnrun.config import Assignment, Config, resolve
from bnrun.config.difference import config_difference
from bnrun.config.resolve import read_file
from bnrun.errors import ConfigError

LOOP = "loop:"
SHARED = ("training.device", "training.batch_size", "data.name", "data.root", "data.validation")
DEFAULT_ARMS = (
    "loop:4 loop:0 scratch builtin eager=scratch,training.engine=eager "
    "builtin-eager=builtin,training.engine=eager"
)


@dataclass(frozen=True)
class BenchArm:
    """What is timed: a config's training; with `workers`, the textbook's loop instead."""

    name: str
    config: Config
    workers: int | None = None

    @property
    def is_loop(self) -> bool:
        """Tell whether it is the textbook's loop."""
        return self.workers is not None


def bench_arms(
    texts: Sequence[str], config: Path | None, overrides: Sequence[Assignment] = ()
) -> tuple[BenchArm, ...]:
    """Resolve the arms: `loop:N`, the textbook's loop with N workers; or as `compare` takes them.

    A text may hold several, with spaces between them.

    Raises:
        ConfigError, NormError: one is not acceptable.
    """
    stated = [*(read_file(config) if config else ()), *overrides]
    base = resolve(None, stated).config
    words = [word for text in texts for word in _split(text)]
    arms = tuple(_bench_arm(word, stated, base) for word in words)
    if not arms:
        raise ConfigError(f"--arms: name one arm or more, such as --arms '{DEFAULT_ARMS}'.")
    check_names([arm.name for arm in arms])
    for arm in arms:
        for found in config_difference(arms[0].config.to_dict(), arm.config.to_dict()):
            if found.key in SHARED:
                raise ConfigError(
                    f"arm {arm.name}: {found.key} can't differ between arms, whose times would not "
                    f"be of the same work. For all of them: --set {found.key}=…"
                )
    return arms


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--arms: received '{text}': {error}.") from None


def _bench_arm(word: str, stated: Sequence[Assignment], base: Config) -> BenchArm:
    if not word.startswith(LOOP):
        arm = parse_arm(word, stated)
        return BenchArm(arm.name, arm.config)
    workers = word.removeprefix(LOOP)
    if not workers.isascii() or not workers.isdigit() or int(workers) > 64:
        raise ConfigError(
            f"--arms: received '{word}'; the textbook's loop is loop:N, with N its loader's "
            "workers, 0 to 64."
        )
    return BenchArm(f"loop-{int(workers)}", base, int(workers))
