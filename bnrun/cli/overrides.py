"""What a command line states about the config: `--set`, and the options that stand for a key."""

from collections.abc import Sequence
from typing import Any

from bnrun.config import Assignment, parse_override

KEYS_OF_OPTIONS = {
    "images": "training.population_images",
    "norm": "model.norm",
    "epochs": "training.epochs",
    "seed": "training.seed",
    "device": "training.device",
}


def stated(texts: Sequence[str], **options: Any) -> list[Assignment]:
    """Return each `--set` in turn, then the options that were given.

    Raises:
        ConfigError: a `--set` is not KEY=VALUE.
    """
    sets = [assignment for text in texts for assignment in parse_override(text)]
    return sets + [
        Assignment(KEYS_OF_OPTIONS[name], value, f"--{name}")
        for name, value in options.items()
        if value is not None
    ]
