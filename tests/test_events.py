"""Work is a generator of events that returns its result; `drain` runs it to its end."""

from collections.abc import Generator

import pytest

from bnrun.events import drain


def _count(to: int, closed: list[bool]) -> Generator[int, None, str]:
    try:
        yield from range(to)
    finally:
        closed.append(True)
    return f"counted to {to}"


def test_drain_returns_the_result_and_passes_every_event() -> None:
    seen: list[int] = []
    assert drain(_count(3, []), seen.append) == "counted to 3"
    assert seen == [0, 1, 2]
    assert drain(_count(2, [])) == "counted to 2"


def test_drain_closes_the_work_when_its_listener_raises() -> None:
    closed: list[bool] = []

    def interrupted(event: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(_count(3, closed), interrupted)
    assert closed == [True]
