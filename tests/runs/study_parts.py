"""What the parts of test_study_trials.py compute: a module of its own, for processes to import."""

import os
import warnings

from bnrun.data.dataset import Dataset
from bnrun.errors import DataError


def whats_with(word: str, dataset: Dataset) -> tuple[str, int, int]:
    """Return a word, the number of training images and the process; or end badly."""
    match word:
        case "exits":
            os._exit(3)
        case "raises":
            raise DataError("too few images")
        case _:
            warnings.warn("mind this", stacklevel=1)
    return word, len(dataset.train), os.getpid()
