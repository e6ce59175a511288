"""Filters of the list of runs: `norm=scratch`, `optimizer.lr=0.1`, `status=completed`."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from bnrun.config import KEYS, yaml_text
from bnrun.errors import ConfigError, did_you_mean, known_value
from bnrun.runs.run_records import DamagedRun, Record, RecordStatus, RunRecord

STATUSES = (*get_args(RecordStatus), "damaged")
"""Every status that the list shows."""

_LAST_PARTS = Counter(key.rpartition(".")[2] for key in KEYS)
NAMES = {
    **{key: key for key in KEYS},
    **{key.rpartition(".")[2]: key for key in KEYS if _LAST_PARTS[key.rpartition(".")[2]] == 1},
    "data": "data.name",
    "status": "status",
    "config": "config",
}
"""What each name that a filter may begin with stands for: a config key, `status`, `config`."""


@dataclass(frozen=True)
class Filter:
    """A key and the value that it must have; `text` is the value as the user wrote it."""

    key: str
    value: Any
    text: str

    def accepts(self, record: Record) -> bool:
        """Return whether a record has the value. Only whole runs have more than a status."""
        if self.key == "status":
            status = "damaged" if isinstance(record, DamagedRun) else record.status
            return status == self.text
        return isinstance(record, RunRecord) and self._is_value_of(record)

    def _is_value_of(self, run: RunRecord) -> bool:
        if self.key == "config":
            return run.config_name == self.text
        section, _, name = self.key.partition(".")
        value = run.summary.config[section][name]
        match self.key:
            case "model.norm":  # also with its options, without its folder, and the class alone
                return any(
                    self.text in (norm, norm.rpartition("/")[2], norm.rpartition(":")[2])
                    for norm in (value, run.summary.norm)
                )
            case "training.engine":  # also the one that `auto` has chosen
                return self.text in (value, run.summary.engine)
            case "training.device":
                return self.text in (value, run.summary.device)
        return bool(value == self.value)


def parse_filter(text: str) -> Filter:
    """Parse `KEY=VALUE`: a config key, in full or its last part, or `status` or `config`.

    Raises:
        ConfigError: there is no such key or status, or the value is not YAML.
    """
    name, _, value = text.partition("=")
    if name not in NAMES:
        raise ConfigError(
            f"there is no '{name}' to look for.{did_you_mean(name, NAMES)} A filter has a config "
            "key, such as norm or optimizer.lr, or status or config.",
            source=text,
        )
    if NAMES[name] == "status":
        known_value("status", value, STATUSES)
    return Filter(NAMES[name], yaml_text.parse(value, text).value, value)
