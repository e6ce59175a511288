"""Findings stand under what explains them, the worst first, and none is lost."""

import graphlib
from collections.abc import Iterator

import pytest

from bnrun.health import findings
from bnrun.health.evidence import Evidence
from bnrun.health.finding import Finding, Severity
from bnrun.health.findings import KINDS, find_all

NOTHING = Evidence("net", ())


def finding(id_: str, severity: Severity, layer: str = "") -> Finding:
    return Finding(id_, severity, (layer,), "", "", "")


def test_what_explains_a_kind_is_a_kind_and_nothing_explains_itself() -> None:
    assert {cause for kind in KINDS.values() for cause in kind.follows} <= set(KINDS)
    order = graphlib.TopologicalSorter({kind.id: kind.follows for kind in KINDS.values()})
    order.prepare()  # raises where two explain each other: both would be under, and none shown


def test_every_kind_has_an_id_of_its_own_and_states_its_threshold() -> None:
    kinds = [kind for topic in findings.TOPICS for kind in topic.KINDS]
    assert len(kinds) == len(KINDS)
    assert all(kind.threshold for kind in kinds)


@pytest.mark.parametrize("severity", ["error", "warning"])
def test_the_worst_comes_first_and_each_is_followed_by_what_it_explains(
    severity: Severity, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        finding("unused", "note"),
        finding("stale", "error", "a"),
        finding("gamma-off", "warning"),
        finding("inputs-changed", severity),
    ]

    class Topic:
        @staticmethod
        def find(evidence: Evidence) -> Iterator[Finding]:
            return iter(found)

    monkeypatch.setattr(findings, "TOPICS", (Topic,))
    monkeypatch.setitem(KINDS, "unused", KINDS["gamma-off"])
    shown = [(one.id, one.severity, one.under) for one in find_all(NOTHING)]
    assert shown == [
        ("inputs-changed", "error", None),  # as bad as what follows from it
        ("stale", "error", "inputs-changed"),
        ("gamma-off", "warning", None),
        ("unused", "note", None),
    ]
    assert find_all(NOTHING)[1].message == "Moving statistics do not fit these inputs."
