"""What run directories hold, read without torch: for lists, views and differences.

The metrics tell what happened, since they are only ever added to. `summary.json` tells how a
session ended that could not say so itself: interrupted, or failed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from bnrun.config import Config, resolve
from bnrun.config.yaml_text import parse
from bnrun.errors import BnrunError, RunError
from bnrun.events import EpochEnded, RunEnded, RunStarted, Status
from bnrun.locks import is_held
from bnrun.runs.directory import plain
from bnrun.runs.find import COMPARISON, RUN, newest_first, started
from bnrun.summary import Summary, planned

_STARTED, _EPOCH, _ENDED = TypeAdapter(RunStarted), TypeAdapter(EpochEnded), TypeAdapter(RunEnded)
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)  # ValueError: JSON, UTF-8

KeptStatus = Status | Literal["running", "unfinished"]


@dataclass(frozen=True)
class KeptRun:
    """A run, as its directory tells it.

    `status` is the summary's; or `running`, where a process holds the directory; or `unfinished`,
    where one was killed (the summary then says `interrupted`). `started` (UTC) is None where
    neither name nor metrics tell, `config_name` where the directory was renamed. `environment` is
    that of the first start; empty before it.
    """

    path: Path
    started: datetime | None
    config_name: str | None
    summary: Summary
    status: KeptStatus
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class DamagedRun:
    """A run directory that cannot be read, and why."""

    path: Path
    problem: str


@dataclass(frozen=True)
class KeptComparison:
    """A comparison's directory; `status` is None where it has no result (yet)."""

    path: Path
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    status: str | None


def list_runs(out: Path, limit: int | None = None) -> list[KeptRun | DamagedRun]:
    """Read the runs directly below `out`, newest first; at most `limit` of them.

    A damaged one is in its place in the list: left out, it would seem never to have been.
    """
    listed: list[KeptRun | DamagedRun] = []
    for path in newest_first(out, RUN)[:limit]:
        try:
            listed.append(read_run(path))
        except BnrunError as error:
            listed.append(DamagedRun(path, str(error)))
    return listed


def read_run(path: Path) -> KeptRun:
    """Read a run's directory, as far as the run has come.

    Raises:
        ConfigError: its config.yaml is not acceptable.
        RunError: another file of it is damaged.
    """
    config = resolve(path / "config.yaml").config
    metrics = _read_metrics(path, config)
    status, reason = _status(path, metrics)
    known = "interrupted" if status == "running" or status == "unfinished" else status
    return KeptRun(
        path=path,
        started=started(path),
        config_name=_config_name(path.name, config),
        summary=replace(metrics.summary, status=known, reason=reason),
        status=status,
        environment=_json(path / "environment.json") or {},
    )


def list_comparisons(out: Path) -> list[KeptComparison]:
    """Read what the comparisons directly below `out` are of, newest first."""
    return [_read_comparison(path) for path in newest_first(out, COMPARISON)]


@dataclass(frozen=True)
class _Metrics:
    """The fold of `metrics.jsonl`; `ended` where the last session came to its own end."""

    summary: Summary
    sessions: int = 0
    ended: bool = False


def _read_metrics(path: Path, config: Config) -> _Metrics:
    file, document = path / "metrics.jsonl", config.to_dict()
    metrics = _Metrics(planned(document, str(path)))
    raw = file.read_bytes() if file.exists() else b""
    # What follows the last line's end was cut short by a kill, or is being written.
    for number, text in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            line = json.loads(text)
            match line["event"]:
                case "run_started":
                    finished = metrics.summary.epochs[: line["finished"]]
                    event = _STARTED.validate_python(line | {"finished": finished})
                    summary = metrics.summary.with_event(event)
                    metrics = _Metrics(summary, metrics.sessions + 1)
                case "epoch_ended":
                    summary = metrics.summary.with_event(_EPOCH.validate_python(line))
                    metrics = replace(metrics, summary=summary)
                case "run_ended":
                    summary = metrics.summary.with_event(_ENDED.validate_python(line))
                    metrics = replace(metrics, summary=summary, ended=True)
        except _UNREADABLE as error:
            raise RunError(f"{file}:{number}: this line is no event of bnrun's.") from error
    return metrics


def _status(path: Path, metrics: _Metrics) -> tuple[KeptStatus, str | None]:
    """Tell how the run stands, and why."""
    if metrics.ended:
        return metrics.summary.status, metrics.summary.reason
    if is_held(path / ".lock"):
        return "running", None
    told = _json(path / "summary.json")
    if told is None or _is_outdated(told, path, metrics):
        return "unfinished", None
    if told.get("status") not in get_args(Status):
        raise RunError(f"{path / 'summary.json'} is damaged: it has no status of bnrun's.")
    return told["status"], told.get("reason")


def _is_outdated(told: Mapping[str, Any], path: Path, metrics: _Metrics) -> bool:
    """Tell whether `summary.json` is an earlier session's, of a run gone on with and then killed.

    A session's summary is written after its last line of metrics. Times may be lost where a run
    is copied; so they are asked only where there was an earlier session and no new epoch.
    """
    if len(told.get("epochs", ())) < len(metrics.summary.epochs):
        return True
    summary, lines = (path / name for name in ("summary.json", "metrics.jsonl"))
    return metrics.sessions > 1 and summary.stat().st_mtime_ns < lines.stat().st_mtime_ns


def _config_name(name: str, config: Config) -> str | None:
    """Take the config's name out of a directory's: <UTC time>-<it>-<norm>-s<seed>[-<copy>]."""
    norm = plain(config.model.norm.rpartition(":")[2])
    rest = rf"-{re.escape(norm)}-s{config.training.seed}(-\d+)?"
    found = re.fullmatch(rf"\d{{8}}T\d{{6}}Z-(?P<config>.+?){rest}", name)
    return found["config"] if found else None


def _json(file: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is no file."""
    if not file.exists():
        return None
    try:
        document = json.loads(file.read_bytes())
    except _UNREADABLE as error:
        raise RunError(f"{file} is damaged: it is no JSON document.") from error
    if not isinstance(document, dict):
        raise RunError(f"{file} is damaged: it is no JSON object.")
    return document


def _read_comparison(path: Path) -> KeptComparison:
    try:
        plan = parse((path / "compare.yaml").read_text(encoding="utf-8"), "compare.yaml").value
        arms = tuple(str(arm["name"]) for arm in plan["arms"])
        seeds = tuple(int(seed) for seed in plan["seeds"])
        told = (_json(path / "summary.json") or {}).get("status")
        status = "running" if told != "completed" and is_held(path / ".lock") else told
    except (BnrunError, *_UNREADABLE):
        return KeptComparison(path, (), (), "damaged")
    return KeptComparison(path, arms, seeds, status)
