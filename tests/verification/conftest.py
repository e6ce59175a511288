"""Verifying in this process, which is quick; what needs a process of its own says so."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from bnrun.verification.observe.apart import Here
from bnrun.verification.report import Report
from bnrun.verification.verification import verify

FOLDER = Path(__file__).parent


@pytest.fixture
def report_on() -> Callable[..., Report]:
    """Return the report on an implementation: a norm, or `faulty_norms.py:Class` of this folder."""

    def report(implementation: str, **options: object) -> Report:
        if implementation.partition(":")[0] in ("faulty_norms.py", "right_norms.py"):
            implementation = f"{FOLDER}/{implementation}"
        *_, last = verify(implementation, **({"observer": Here} | options))
        assert isinstance(last, Report)
        return dataclasses.replace(last, seconds=0.0)

    return report


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a file with a class `Norm`, and return how it is named."""

    def written(text: str) -> str:
        (tmp_path / "mine.py").write_text(text)
        return f"{tmp_path}/mine.py:Norm"

    return written
