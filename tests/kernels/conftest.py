"""Kernels enabled, where they can be compiled."""

from collections.abc import Iterator

import pytest

from bnrun import kernels
from bnrun.errors import EngineError


@pytest.fixture
def compilable() -> None:
    try:
        kernels.is_compiled()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture
def enabled(compilable: None) -> Iterator[None]:
    with kernels.enabled():
        yield
