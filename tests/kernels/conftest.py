"""Kernels enabled, where they can be compiled."""

from collections.abc import Iterator

import pytest

from bnrun import kernels


@pytest.fixture
def enabled(compilable: None) -> Iterator[None]:
    with kernels.enabled():
        yield
