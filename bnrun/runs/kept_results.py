"""The results that a report is about: found by what a user calls them, and read without torch.

Studies, comparisons and runs are directories. A verification or an audit is a file: what
`bnrun verify X --json` or `bnrun audit X --json` printed. Without a name, these are taken: of each
study the newest that is complete, else the newest with a verdict; the newest comparisons and runs
that have a result; and the documents `*.json` directly in the folder of the runs.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from bnrun.comparison.result import Comparison
from bnrun.errors import BnrunError, RunError
from bnrun.events import Probed
from bnrun.runs.comparison_directory import read_comparison
from bnrun.runs.lookup import COMPARISON, RUN, STUDY, find_any, newest_first, start_time
from bnrun.runs.probe_records import read_probes
from bnrun.runs.run_records import RunRecord, read_run
from bnrun.runs.study_file import StudyFile, read_study
from bnrun.studies.registry import STUDIES

NEWEST = 5
"""How many comparisons, and how many runs, are taken where none is named."""


@dataclass(frozen=True)
class KeptComparison:
    """A comparison, and when it started (UTC); None where that is not known."""

    comparison: Comparison
    started: datetime | None


@dataclass(frozen=True)
class KeptRun:
    """A run, and what its probes saw."""

    record: RunRecord
    looks: Sequence[Probed]


@dataclass(frozen=True)
class Document:
    """A verification or an audit, as its command printed it."""

    kind: Literal["verification", "audit"]
    path: Path
    facts: Mapping[str, Any]


Kept = StudyFile | KeptComparison | KeptRun | Document


@dataclass(frozen=True)
class KeptResults:
    """What was found, each kind in its order, and what was not taken, in sentences."""

    studies: Sequence[StudyFile] = ()
    comparisons: Sequence[KeptComparison] = ()
    runs: Sequence[KeptRun] = ()
    verifications: Sequence[Document] = ()
    audits: Sequence[Document] = ()
    remarks: Sequence[str] = field(default=())

    @property
    def count(self) -> int:
        """Return how many results these are."""
        every = (self.studies, self.comparisons, self.runs, self.verifications, self.audits)
        return sum(map(len, every))

    @property
    def counts(self) -> Mapping[str, int]:
        """Return how many results there are of each kind that there is, by its name."""
        named = {
            "study": self.studies,
            "comparison": self.comparisons,
            "run": self.runs,
            "verification": self.verifications,
            "audit": self.audits,
        }
        return {name: len(found) for name, found in named.items() if found}


def find_results(names: Iterable[str], out: Path) -> KeptResults:
    """Return the results that are named, each once; studies in the order of the catalogue.

    Args:
        names: each a directory as everywhere (lookup.py), the name of a study, which stands for
            its newest directory, or the path of a document.
        out: the folder that runs are in.

    Raises:
        RunError: something is not there, is damaged, or is no result.
        ConfigError: a config or a study in it is not known.
    """
    paths = {path.resolve(): path for path in (_path(name, out) for name in names)}
    return _sorted([_read(path) for path in paths.values()])


def newest_results(out: Path) -> KeptResults:
    """Return the results in a folder that are worth a report (see the top of this file).

    Raises:
        RunError: there are none.
    """
    remarks: list[str] = []
    studies = list(_readable(newest_first(out, STUDY), remarks))
    chosen = [one for one in studies if isinstance(one, StudyFile) and one.result.evidence]
    complete = [one for one in chosen if not one.result.unfinished]
    of_study = {one.result.study.name: one for one in (*reversed(chosen), *reversed(complete))}
    found: list[Kept] = [*of_study.values(), *_documents(out, remarks)]
    for kind in (COMPARISON, RUN):
        every = [one for one in _readable(newest_first(out, kind), remarks) if _has_result(one)]
        found += reversed(every[:NEWEST])
        older = len(every) - NEWEST
        if older > 0:
            remarks.append(f"left out: {older} older {kind.word}{'s' if older > 1 else ''}")
    older = len(studies) - len(of_study)
    if older > 0:
        what = "directory of a study" if older == 1 else "directories of studies"
        remarks.append(f"left out: {older} other {what}")
    if not found:
        raise RunError(
            f"there is nothing to report below {out}/: no run, comparison or study with a result. "
            "`bnrun study exact` takes a few seconds, and makes one."
        )
    return _sorted(found, remarks)


def _path(name: str, out: Path) -> Path:
    """Return the file or directory of a result."""
    if Path(name).is_file():
        return Path(name)
    if name in STUDIES and not (out / name).exists():
        called = re.compile(rf".*-study-{name}(-\d+)?")
        path = next((one for one in newest_first(out, STUDY) if called.fullmatch(one.name)), None)
        if path is None:
            raise RunError(f"study {name} was not run below {out}/: `bnrun study {name}` does it.")
        return path
    return find_any(name, out)


def _read(path: Path) -> Kept:
    """Read one result.

    Raises:
        BnrunError: it is damaged, or none.
    """
    if path in COMPARISON:
        return KeptComparison(read_comparison(path), start_time(path))
    if path in STUDY:
        return read_study(path)
    if path in RUN:
        return KeptRun(read_run(path), read_probes(path))
    return read_document(path)


def _readable(paths: Iterable[Path], remarks: list[str]) -> Iterator[Kept]:
    """Yield what can be read; say of the others why not."""
    for path in paths:
        try:
            yield _read(path)
        except BnrunError as error:
            remarks.append(f"left out: {path.name}, which can't be read: {error}")


def _has_result(kept: Kept) -> bool:
    match kept:
        case KeptComparison():
            return any(result.completed for result in kept.comparison.arms)
        case KeptRun():
            return bool(kept.record.summary.epochs)
    return True


def _documents(out: Path, remarks: list[str]) -> Iterator[Document]:
    """Yield the documents in a folder; say of its other JSON files why they are none."""
    for path in sorted(out.glob("*.json")):
        try:
            yield read_document(path)
        except RunError as error:
            remarks.append(f"left out: {error}")


def _sorted(found: Sequence[Kept], remarks: Sequence[str] = ()) -> KeptResults:
    order = list(STUDIES)
    studies = [one for one in found if isinstance(one, StudyFile)]
    documents = [one for one in found if isinstance(one, Document)]
    return KeptResults(
        studies=sorted(studies, key=lambda one: order.index(one.result.study.name)),
        comparisons=[one for one in found if isinstance(one, KeptComparison)],
        runs=[one for one in found if isinstance(one, KeptRun)],
        verifications=[one for one in documents if one.kind == "verification"],
        audits=[one for one in documents if one.kind == "audit"],
        remarks=remarks,
    )


# ---- documents


class _Verification(BaseModel):
    implementation: str
    family: str
    verdict: Literal["pass", "fail"]
    contract: str
    device: str
    faults: list[dict[str, Any]]
    dialects: list[dict[str, Any]]
    checks: list[dict[str, Any]]
    seconds: float


class _Audit(BaseModel):
    network: str
    norms: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    verdict: str


_SHAPES: Mapping[Literal["verification", "audit"], type[BaseModel]] = {
    "verification": _Verification,
    "audit": _Audit,
}


def read_document(path: Path) -> Document:
    """Read what `bnrun verify --json` or `bnrun audit --json` printed into a file.

    Raises:
        RunError: it cannot be read, or holds something else.
    """
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} can't be read: it is no JSON document ({error}).") from error
    for kind, shape in _SHAPES.items():
        try:
            shape.model_validate(facts)
        except ValidationError:
            continue
        return Document(kind, path, facts)
    raise RunError(
        f"{path} is no document of `bnrun verify X --json` or `bnrun audit X --json`. Of runs, "
        "comparisons and studies, name the directory."
    )
