"""The config of a run: its schema, and how it is made from a file and overrides."""

from bnrun.config.keywords import KEYWORDS, keyword_assignments
from bnrun.config.packaged import about, packaged_config, packaged_configs
from bnrun.config.resolve import (
    Assignment,
    Resolved,
    config_assignments,
    parse_override,
    resolve,
)
from bnrun.config.schema import KEYS, STATISTICS, Config, DataConfig, OptimizerConfig

__all__ = [
    "KEYS",
    "KEYWORDS",
    "STATISTICS",
    "Assignment",
    "Config",
    "DataConfig",
    "OptimizerConfig",
    "Resolved",
    "about",
    "config_assignments",
    "keyword_assignments",
    "packaged_config",
    "packaged_configs",
    "parse_override",
    "resolve",
]
