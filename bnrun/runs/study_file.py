"""The file of a study, `study.json`: its evidence, written and read without torch.

The evidence is what is kept: judged again by rules that have changed, it gives another summary.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from bnrun.errors import ConfigError, RunError
from bnrun.runs.lookup import STUDY, newest_first, start_time
from bnrun.studies.claim import ClaimResult, Evidence
from bnrun.studies.registry import find_study
from bnrun.studies.study import BUDGETS, Budget, StudyResult


@dataclass(frozen=True)
class StudyFile:
    """What the file of a study holds.

    Attributes:
        result: what was found so far.
        environment: what the study ran on.
        started: when it started (UTC), from the directory's name; None where that was changed.
    """

    result: StudyResult
    environment: Mapping[str, Any]
    started: datetime | None = None


def read_study(path: Path) -> StudyFile:
    """Read a study's directory; its claims are judged by today's rules.

    Raises:
        ConfigError: this version of bnrun has no such study.
        RunError: its file is damaged.
    """
    document = _read(path / STUDY.file)
    return StudyFile(_result(path, document), document["environment"], start_time(path))


def kept_studies(out: Path) -> Iterator[StudyFile]:
    """Yield the studies directly below `out`, newest first; those that cannot be read are left out.

    Damaged ones are in what `bnrun runs` lists.
    """
    for path in newest_first(out, STUDY):
        with contextlib.suppress(ConfigError, RunError):
            yield read_study(path)


def last_verdicts(out: Path) -> dict[str, tuple[StudyFile, ClaimResult]]:
    """Return the newest verdict on each claim that has one below `out`, by the claim's id."""
    found: dict[str, tuple[StudyFile, ClaimResult]] = {}
    for kept in kept_studies(out):
        for one in kept.result.claims:
            found.setdefault(one.claim.id, (kept, one))
    return found


def study_document(result: StudyResult, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file of a study holds, for JSON."""
    return {
        "study": result.study.name,
        "budget": result.budget,
        "machine": result.machine,
        "seconds": result.seconds,
        "environment": dict(environment),
        "evidence": {
            id_: {
                "values": {part: list(values) for part, values in evidence.values.items()},
                "remark": evidence.remark,
                "curves": {
                    name: [[x, float(f"{y:.5g}")] for x, y in points]  # as much as one can see
                    for name, points in evidence.curves.items()
                },
            }
            for id_, evidence in result.evidence.items()
        },
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(file.read_bytes())
        if document["budget"] not in BUDGETS:
            raise ValueError(f"there is no budget {document['budget']!r}")
        document["environment"] = dict(document["environment"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged: {error!r}. Run the study again.") from error
    return document


def _result(path: Path, document: Mapping[str, Any]) -> StudyResult:
    try:
        evidence = {
            str(id_): Evidence(
                {
                    str(part): [float(value) for value in values]
                    for part, values in one["values"].items()
                },
                str(one["remark"]),
                {
                    str(name): [(float(x), float(y)) for x, y in points]
                    for name, points in one.get("curves", {}).items()  # older ones have none
                },
            )
            for id_, one in document["evidence"].items()
        }
        return StudyResult(
            study=find_study(document["study"]),
            budget=cast(Budget, document["budget"]),
            machine=str(document["machine"]),
            evidence=evidence,
            seconds=float(document["seconds"]),
            run=str(path),
        )
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path / STUDY.file} is damaged: {error!r}. Run it again.") from error
