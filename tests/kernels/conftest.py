"""The kernels enabled, where there is a compiler."""

from collections.abc import Iterator

import pytest

from bnrun import kernels
from bnrun.errors import EngineError


@pytest.fixture
def enabled() -> Iterator[None]:
    try:
        kernels.is_compiled()
    except EngineError as error:
        pytest.skip(str(error))
    with kernels.enabled():
        yield
