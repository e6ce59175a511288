"""Claims on made-up values: each part of these claims, for each verdict that its rule can give."""

import pytest

from bnrun.studies.claim import Evidence, judge_claim
from bnrun.studies.registry import STUDIES

CLAIMS = {claim.id: claim for study in STUDIES.values() for claim in study.claims}


def _above(margin):
    """Values that decide a claim of "more than the margin", by verdict."""
    return {
        "supported": [margin + 0.09, margin + 0.1, margin + 0.11],
        "contradicted": [margin - 0.11, margin - 0.1, margin - 0.09],
        "not decided": [margin - 0.1, margin, margin + 0.1],
    }


def _within(margin):
    """Values that decide a claim of "no more than the margin, either way", by verdict."""
    return {
        "supported": [0.0, 0.1 * margin, 0.2 * margin],
        "contradicted": [4.9 * margin, 5 * margin, 5.1 * margin],
        "not decided": [0.0, margin, 2 * margin],
    }


PARTS = [
    ("A4", "no norm ranges over 20 points", _above(0.2)),
    ("A4", "batch norm within 5 points, .01 to 10", _within(0.05)),
    ("A4", "batch norm within 5 points, .01 to 100", _within(0.05)),
    ("S3", "1/k has the smaller error", _above(0)),
    ("S3", "1/k predicts better", _above(0)),
    ("S6", "pieces of 4: a gain", _above(0)),
    ("S6", "batches of 256: the same", _within(0.002)),
    ("C3", "no norm", _above(0)),
    ("C3", "batch norm", _above(0)),
    ("C4", "first 200 steps", _above(0.05)),
    ("C4", "second half", _above(0.05)),
    ("C5", "normalized", _above(0)),
    ("C5", "scaled and shifted", _above(0)),
    ("C6", "a tenth or more", _above(0.1)),
    ("R3", "16 octaves", _within(0.05)),
]


@pytest.mark.parametrize(("id_", "part", "values"), PARTS, ids=[f"{a} {b}" for a, b, _ in PARTS])
def test_a_part_gets_each_verdict(id_, part, values):
    found = {
        verdict: judge_claim(CLAIMS[id_], Evidence({part: numbers})).judgments[part].verdict
        for verdict, numbers in values.items()
    }
    assert found == {verdict: verdict for verdict in values}


def test_the_table_above_has_every_part_of_these_claims():
    ids = {id_ for id_, _, _ in PARTS}
    expected = {(id_, part.name) for id_ in ids for part in CLAIMS[id_].parts}
    assert {(id_, part) for id_, part, _ in PARTS} == expected


@pytest.mark.parametrize("id_", dict.fromkeys(id_ for id_, _, _ in PARTS))
def test_what_was_expected_is_no_surprise_and_its_opposite_is(id_):
    claim = CLAIMS[id_]
    values = {part: one for name, part, one in PARTS if name == id_}
    opposites = {"supported": "contradicted"}
    as_expected, other = {}, {}
    for part in claim.parts:
        as_expected[part.name] = values[part.name][part.expected]
        other[part.name] = values[part.name][opposites.get(part.expected, "supported")]
    result = judge_claim(claim, Evidence(as_expected))
    assert (result.verdict, result.is_surprise) == (claim.expected, False)
    assert judge_claim(claim, Evidence(other)).is_surprise
