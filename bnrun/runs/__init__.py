"""The directories of runs and comparisons: the only code that writes results to disk."""

from bnrun.runs.checkpoint_files import read_checkpoint, write_population_checkpoint
from bnrun.runs.lookup import find
from bnrun.runs.norm_files import config_with_norm
from bnrun.runs.run_directory import Run, create, reopen

__all__ = [
    "Run",
    "config_with_norm",
    "create",
    "find",
    "read_checkpoint",
    "reopen",
    "write_population_checkpoint",
]
