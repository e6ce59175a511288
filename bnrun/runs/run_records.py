"""What the directories of runs and comparisons hold, read without torch: for lists and views.

The metrics say what happened, since they are only ever added to. Where a session was interrupted or
failed, they have no line for its end: `summary.json` says how it ended.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from bnrun.config import Config, resolve
from bnrun.config.yaml_text import parse
from bnrun.errors import BnrunError, RunError
from bnrun.events import RunEnded, RunStarted, Status
from bnrun.locks import is_held
from bnrun.runs.lookup import COMPARISON, RUN, STUDY, DirectoryKind, newest_first, start_time
from bnrun.runs.metrics_file import MetricsFile
from bnrun.runs.new_directory import plain
from bnrun.runs.run_directory import LOCK
from bnrun.training_summary import Summary, planned

RecordStatus = Literal[Status, "running", "unfinished"]

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)  # ValueError: JSON, UTF-8


@dataclass(frozen=True)
class RunRecord:
    """A run, as its directory holds it.

    Attributes:
        path: the directory.
        started: when the run started (UTC); None where neither its name nor its metrics say.
        config_name: the name of its config; None where the directory was renamed.
        summary: the result so far.
        status: the summary's; or `running`, where a process trains in the directory; or
            `unfinished`, where a process was killed. The summary then says `interrupted`.
        environment: what the first session ran on; empty before that.
    """

    path: Path
    started: datetime | None
    config_name: str | None
    summary: Summary
    status: RecordStatus
    environment: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun runs show --json` prints."""
        return {
            **self.summary.to_dict(),
            "status": self.status,
            "config_name": self.config_name,
            "started": self.started and f"{self.started:%Y-%m-%dT%H:%M:%SZ}",
            "environment": dict(self.environment),
        }


@dataclass(frozen=True)
class DamagedRun:
    """A run directory that cannot be read, and why."""

    path: Path
    problem: str


@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison, as its directory holds it; `status` is None where there is no result yet."""

    path: Path
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    status: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison's entry in what `bnrun runs --json` prints."""
        return {
            "run": str(self.path),
            "status": self.status,
            "arms": list(self.arms),
            "seeds": list(self.seeds),
        }


@dataclass(frozen=True)
class StudyRecord:
    """A study, as its directory holds it.

    `verdicts` counts those on its claims; `unfinished` are the ids of claims without one. `budget`
    is None where the directory is damaged.
    """

    path: Path
    budget: str | None
    verdicts: Mapping[str, int]
    unfinished: tuple[str, ...]
    status: str

    def to_dict(self) -> dict[str, Any]:
        """Return the study's entry in what `bnrun runs --json` prints."""
        return {
            "run": str(self.path),
            "status": self.status,
            "budget": self.budget,
            "verdicts": dict(self.verdicts),
            "unfinished": list(self.unfinished),
        }


Record = RunRecord | DamagedRun | ComparisonRecord | StudyRecord


def list_runs(out: Path, limit: int | None = None) -> list[RunRecord | DamagedRun]:
    """Read the runs directly below `out`, newest first; at most `limit` of them.

    A damaged run keeps its place in the list: left out, it would seem never to have existed.
    """
    return [_read_run_or_damage(path) for path in newest_first(out, RUN)[:limit]]


def records(out: Path, *kinds: DirectoryKind) -> Iterator[Record]:
    """Yield what is directly below `out`, newest first; each is read when it is asked for."""
    for path in newest_first(out, *kinds):
        if path in COMPARISON:
            yield read_comparison_record(path)
        elif path in STUDY:
            yield _read_study(path)
        else:
            yield _read_run_or_damage(path)


def read_run(path: Path) -> RunRecord:
    """Read a run's directory, as far as the run has got.

    Raises:
        ConfigError: its config.yaml is not acceptable.
        RunError: another file of it is damaged.
    """
    config = resolve(path / "config.yaml").config
    metrics = _read_metrics(path, config)
    status, reason = _status(path, metrics)
    known = "interrupted" if status == "running" or status == "unfinished" else status
    return RunRecord(
        path=path,
        started=start_time(path),
        config_name=_config_name(path.name, config),
        summary=replace(metrics.summary, status=known, reason=reason),
        status=status,
        environment=_read_environment(path / "environment.json"),
    )


@dataclass(frozen=True)
class _Metrics:
    """The summary of a metrics file, how many sessions it has, and whether the last one ended."""

    summary: Summary
    sessions: int
    ended: bool


def _read_metrics(path: Path, config: Config) -> _Metrics:
    """Fold a run's metrics into its summary.

    Raises:
        RunError: a line of them is damaged.
    """
    events = MetricsFile(path).read()
    bounds = [event for event in events if isinstance(event, RunStarted | RunEnded)]
    return _Metrics(
        summary=functools.reduce(Summary.with_event, events, planned(config.to_dict(), str(path))),
        sessions=sum(isinstance(event, RunStarted) for event in bounds),
        ended=bool(bounds) and isinstance(bounds[-1], RunEnded),
    )


def _status(path: Path, metrics: _Metrics) -> tuple[RecordStatus, str | None]:
    """Return the status of a run, and the reason for it.

    Raises:
        RunError: the run's summary.json is damaged.
    """
    if metrics.ended:
        return metrics.summary.status, metrics.summary.reason
    if is_held(path / LOCK):
        return "running", None
    summary = _read_json(path / "summary.json")
    if summary is not None and not isinstance(summary.get("epochs", []), list):
        raise RunError(f"{path / 'summary.json'} is damaged: its epochs are no list.")
    if summary is None or _is_outdated(summary, path, metrics):
        return "unfinished", None
    if summary.get("status") not in get_args(Status):
        raise RunError(f"{path / 'summary.json'} is damaged: it has no status that bnrun knows.")
    return summary["status"], summary.get("reason")


def _is_outdated(summary: Mapping[str, Any], path: Path, metrics: _Metrics) -> bool:
    """Return whether `summary.json` is of an earlier session than one that was killed.

    A session's summary is written after its last line of metrics. File times may be lost where a
    run is copied, so they decide only where an earlier session existed and no epoch is new.
    """
    if len(summary.get("epochs", ())) < len(metrics.summary.epochs):
        return True
    written, added_to = (path / name for name in ("summary.json", "metrics.jsonl"))
    return metrics.sessions > 1 and written.stat().st_mtime_ns < added_to.stat().st_mtime_ns


def _config_name(name: str, config: Config) -> str | None:
    """Return the config's name from `<UTC time>-<config name>-<norm>-s<seed>[-<copy>]`."""
    norm = plain(config.model.norm.rpartition(":")[2])
    rest = rf"-{re.escape(norm)}-s{config.training.seed}(-\d+)?"
    match = re.fullmatch(rf"\d{{8}}T\d{{6}}Z-(?P<config>.+?){rest}", name)
    return match["config"] if match else None


def _read_environment(file: Path) -> dict[str, Any]:
    """Read what a run's first session ran on; empty where there is no file.

    Raises:
        RunError: it is damaged.
    """
    document = _read_json(file) or {}
    command, git = document.get("command", []), document.get("git")
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise RunError(f"{file} is damaged: its command is no list of words.")
    if not isinstance(git, dict | None):
        raise RunError(f"{file} is damaged: its git state is no object.")
    return document


def _read_json(file: Path) -> dict[str, Any] | None:
    """Read a JSON object; return None where there is no file.

    Raises:
        RunError: it is no JSON object.
    """
    if not file.exists():
        return None
    try:
        document = json.loads(file.read_bytes())
    except _UNREADABLE as error:
        raise RunError(f"{file} is damaged: it is not a JSON document.") from error
    if not isinstance(document, dict):
        raise RunError(f"{file} is damaged: it is not a JSON object.")
    return document


def _read_run_or_damage(path: Path) -> RunRecord | DamagedRun:
    try:
        return read_run(path)
    except BnrunError as error:
        return DamagedRun(path, str(error))


def read_comparison_record(path: Path) -> ComparisonRecord:
    """Read the plan of a comparison, and its status; `damaged` where one cannot be read."""
    try:
        plan = parse((path / "compare.yaml").read_text(encoding="utf-8"), "compare.yaml").value
        arms = tuple(str(arm["name"]) for arm in plan["arms"])
        seeds = tuple(int(seed) for seed in plan["seeds"])
        status = (_read_json(path / "summary.json") or {}).get("status")
    except (BnrunError, *_UNREADABLE):
        return ComparisonRecord(path, (), (), "damaged")
    if not isinstance(status, str | None):
        return ComparisonRecord(path, arms, seeds, "damaged")
    if status != "completed" and is_held(path / LOCK):
        status = "running"
    return ComparisonRecord(path, arms, seeds, status)


def _read_study(path: Path) -> StudyRecord:
    try:
        budget = str(json.loads((path / STUDY.file).read_bytes())["budget"])
        result = _read_json(path / "summary.json") or {"claims": [], "unfinished": ["all"]}
        verdicts = Counter(str(claim["verdict"]) for claim in result["claims"])
        unfinished = tuple(map(str, result["unfinished"]))
    except (BnrunError, *_UNREADABLE):
        return StudyRecord(path, None, {}, (), "damaged")
    status = "completed"
    if unfinished:
        status = "running" if is_held(path / LOCK) else "interrupted"
    return StudyRecord(path, budget, verdicts, unfinished, status)
