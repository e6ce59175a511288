"""Verifying in this process, which is quick; what needs a process of its own says so."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnrun.events import drain
from bnrun.verification.report import Report
from bnrun.verification.verify import verify

FOLDER = Path(__file__).parent


@functools.cache
def _verified(norm: Any, options: tuple[tuple[str, Any], ...]) -> Report:
    report = drain(verify(norm, **dict(options)))
    return dataclasses.replace(report, seconds=0.0)


@pytest.fixture(scope="session")
def report_on() -> Callable[..., Report]:
    """Return the report on a norm, or on `faulty_norms.py:Class` of this folder.

    Each is verified once, in this process and under the engine eager unless told otherwise.
    """

    def report(norm: Any, **options: Any) -> Report:
        if str(norm).partition(":")[0] in ("faulty_norms.py", "right_norms.py"):
            norm = f"{FOLDER}/{norm}"
        options = {"isolated": False, "engine": "eager"} | options
        return _verified(norm, tuple(sorted(options.items())))

    return report


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a file with a class `Norm`, and return how it is named."""

    def written(text: str) -> str:
        (tmp_path / "mine.py").write_text(text)
        return f"{tmp_path}/mine.py:Norm"

    return written
