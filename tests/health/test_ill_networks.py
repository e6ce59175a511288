"""Networks with one fault get exactly that finding, and their healthy twins get none."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from ill_networks import PAIRS, Network, Pair
from thread_networks import THREADS, Thread

from bnrun.events import drain
from bnrun.health.audit import audit_model
from bnrun.health.finding import Finding
from bnrun.health.findings import KINDS


def findings(network: Network) -> tuple[Finding, ...]:
    data = network.batches and network.batches()
    audit, _ = drain(audit_model(network.build(), data, **network.options))
    return audit.findings


@pytest.fixture(scope="module")
def of_healthy() -> Callable[[Network], tuple[Finding, ...]]:
    """The findings of a network, looked for once: many pairs share a healthy one."""
    found: dict[Any, tuple[Finding, ...]] = {}

    def look(network: Network) -> tuple[Finding, ...]:
        key = _key(network)
        if key not in found:
            found[key] = findings(network)
        return found[key]

    return look


def _key(network: Network) -> object:
    build = network.build
    if not isinstance(build, functools.partial):
        return build, network.batches, repr(network.options)
    return build.func, repr(build.args), repr(build.keywords), network.batches


def roots(found: tuple[Finding, ...]) -> set[str]:
    return {one.id for one in found if one.under is None}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.finding)
def test_one_fault_gets_exactly_its_finding(
    pair: Pair, of_healthy: Callable[[Network], tuple[Finding, ...]]
) -> None:
    assert roots(findings(pair.ill)) == {pair.finding}  # others may stand under it
    assert of_healthy(pair.healthy) == ()


@pytest.mark.parametrize("thread", THREADS, ids=lambda thread: thread.name)
def test_the_network_of_a_thread_gets_the_right_cause(thread: Thread) -> None:
    assert roots(findings(thread.network)) == {thread.finding}


def test_each_kind_of_finding_has_a_pair() -> None:
    assert set(KINDS) == {pair.finding for pair in PAIRS}
