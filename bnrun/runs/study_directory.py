"""The directory of a study: what was measured, and the result.

    runs/<UTC time>-study-<name>/
        study.json      the study, its budget and machine, and the evidence for each claim
        trials/<arm>-s<seed>/     a run directory for each training
        summary.json    the claims as they were judged: what `bnrun study NAME --json` prints
        <id>-<name>.svg, .png     the picture of each claim

The evidence is what is kept: judged again by rules that have changed, it gives another summary.
An interrupted study continues with the claims that have no evidence, and trains no trial again.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from bnrun.environment import describe
from bnrun.errors import ConfigError, RunError
from bnrun.locks import Busy, Lock
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.lookup import STUDY, TRIALS
from bnrun.runs.new_directory import make_directory
from bnrun.runs.study_trials import StudyTrials
from bnrun.studies.claim import Evidence
from bnrun.studies.registry import find_study
from bnrun.studies.study import BUDGETS, Budget, Measured, StudyEvent, StudyResult

RESULT = "summary.json"


class StudyDirectory:
    """A study's directory, locked for writing until its `with` block ends.

    Attributes:
        path, result: the directory, and what was found so far.
    """

    def __init__(self, path: Path, result: StudyResult, environment: Mapping[str, Any]) -> None:
        self.path = path
        self.result = result
        self._environment = environment
        self._lock = Lock(path / ".lock")

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Busy as error:
            raise RunError(f"{self.path}: another process is working on this study.") from error
        except OSError as error:
            raise self._unwritable(".lock", error) from error
        # Another process may have measured something since this object was made.
        self.result = _result(self.path, _read(self.path / STUDY.file))
        return self

    def laboratory(self, jobs: int = 1) -> StudyTrials:
        """Return where the study's trials are trained, `jobs` at a time."""
        return StudyTrials(self.path / TRIALS, jobs)

    def record(self, event: StudyEvent) -> None:
        """Write down the evidence for a claim, and how it is judged.

        Raises:
            RunError: a file cannot be written.
        """
        if isinstance(event, Measured):
            self.result = self.result.with_measured(event)
            self._write(STUDY.file, _document(self.result, self._environment))
            self._write(RESULT, self.result.to_dict())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        try:
            write_atomically(self.path / name, _json(document).encode())
        except OSError as error:
            raise self._unwritable(name, error) from error

    def _unwritable(self, name: str, error: OSError) -> RunError:
        command = f"bnrun study {self.result.study.name} --resume {shlex.quote(str(self.path))}"
        return RunError(
            f"{self.path / name} can't be written: {error.strerror or error}. Fix that, then "
            f"continue with `{command}`."
        )


def create_study(out: Path, plan: StudyResult) -> StudyDirectory:
    """Make a study's directory below `out`.

    Raises:
        RunError: it cannot be made or written.
    """
    environment = describe("cpu", plan.machine)
    content = _json(_document(plan, environment))
    path = make_directory(out, f"study-{plan.study.name}", STUDY.file, content)
    return reopen_study(path)


def reopen_study(path: Path) -> StudyDirectory:
    """Return a study's directory, to continue it, with its claims judged by today's rules.

    Raises:
        ConfigError: this version of bnrun has no such study.
        RunError: its file is damaged.
    """
    document = _read(path / STUDY.file)
    return StudyDirectory(path, _result(path, document), document["environment"])


def _document(result: StudyResult, environment: Mapping[str, Any]) -> dict[str, Any]:
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


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"


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
