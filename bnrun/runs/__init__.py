"""The run directory: the only code that writes results to disk, and that reads them back."""

from bnrun.runs.read import find, reopen
from bnrun.runs.write import Run, create

__all__ = ["Run", "create", "find", "reopen"]
