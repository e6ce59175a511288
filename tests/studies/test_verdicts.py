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
    ("D1", "256 together, 2,000 images", _above(0)),
    ("D1", "16 together, 2,000 images", _above(0)),
    ("D1", "256 together, 55,000 images", _above(0)),
    ("D2", "55,000 images", _above(-0.003)),
    ("D2", "2,000 images", _above(-0.003)),
    ("D3", "norm behind dropout", _above(1.1)),
    (
        "D3",
        "norms before it",
        {verdict: [1 + value for value in values] for verdict, values in _within(0.05).items()},
    ),
    ("D3", "accuracy that dropout costs", _above(0)),
    ("P1", "sigmoid", _above(0.003)),
    ("P1", "relu", _above(0.003)),
    ("P2", "norm4 alone: half or more", _above(0.5)),
    ("P3", "within a point", _above(-0.01)),
    ("P4", "variance-only less mean-only", _above(0)),
    ("P5", "sigmoid", _above(0.005)),
    ("P5", "relu", _above(0.005)),
    ("P6", "more than random weights", _above(0)),
    ("P6", "a third of gamma near 0", _above(0.333)),
    ("P7", "a gain", _above(0)),
    ("Z1", "batch less group", _above(0)),
    ("Z1", "group less layer", _above(0)),
    ("Z1", "layer less instance", _above(0)),
    ("Z3", "batch less instance", _above(0)),
    ("Z4", "accuracy: the same", _within(0.005)),
    ("Z4", "7 % less time, or more", _above(0.07)),
    ("Z5", "more than a point", _above(0.01)),
    ("Z6", "a gain", _above(0)),
    ("Z7", "within a point", _within(0.01)),
    ("Z7", "within half a point", _within(0.005)),
    ("Z8", "some of the way", _above(0)),
    ("Z8", "half of it, or more", _above(0.5)),
    ("H1", "brightness 0.2", _above(0.01)),
    ("H1", "contrast", _above(0.01)),
    ("H1", "noise", _above(0.01)),
    ("H1", "inversion", _above(0.01)),
    ("H2", "FGSM .02", _above(0)),
    ("H2", "FGSM .05", _above(0)),
    ("H2", "noise of 0.2", _above(0)),
    ("H2", "brighter by 0.2", _above(0)),
    ("H3", "10 points more", _above(0.1)),
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
