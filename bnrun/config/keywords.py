"""Short names for the config keys that are changed most: options, and arguments in Python."""

from typing import Any

from bnrun.config.resolve import Assignment

KEYWORDS = {
    "norm": "model.norm",
    "norm_options": "model.norm_options",
    "epochs": "training.epochs",
    "seed": "training.seed",
    "device": "training.device",
    "images": "training.population_images",
    "probe": "training.probe",
    "every": "training.probe_every",
}
"""The config key that each short name stands for."""


def keyword_assignments(form: str = "{}", **values: Any) -> list[Assignment]:
    """Return the assignments that values by short name make; a value of None makes none.

    Args:
        form: how errors write a short name: `--{}` for an option.
        values: by short name.
    """
    return [
        Assignment(KEYWORDS[name], value, form.format(name))
        for name, value in values.items()
        if value is not None
    ]
