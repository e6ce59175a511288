"""The run directory: the only code that writes results to disk, and that reads them back."""

from bnrun.runs.checkpoints import write_population_checkpoint
from bnrun.runs.find import find
from bnrun.runs.read import read_kept_checkpoint, reopen
from bnrun.runs.write import Run, create

__all__ = [
    "Run",
    "create",
    "find",
    "read_kept_checkpoint",
    "reopen",
    "write_population_checkpoint",
]
