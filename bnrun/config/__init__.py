"""The config of a run: its schema, and how it is made from a file and overrides."""

from bnrun.config.resolve import Assignment, Resolved, parse_override, resolve
from bnrun.config.schema import KEYS, STATISTICS, Config, DataConfig, OptimizerConfig

__all__ = [
    "KEYS",
    "STATISTICS",
    "Assignment",
    "Config",
    "DataConfig",
    "OptimizerConfig",
    "Resolved",
    "parse_override",
    "resolve",
]
