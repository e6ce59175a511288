"""The picture of a claim, from made-up evidence."""

import pytest

from bnrun.show.study_pictures import MEANS, PANELS, claim_picture, shown_panels
from bnrun.studies.claim import Evidence
from bnrun.studies.registry import STUDIES
from bnrun.studies.study import StudyResult

CLAIMS = {claim.id: (claim, study) for study in STUDIES.values() for claim in study.claims}


def _picture(id_, values, curves=None):
    study = CLAIMS[id_][1]
    evidence = {id_: Evidence(values, curves=curves or {})}
    result = StudyResult(study, "standard", "Some CPU, 2 threads", evidence, 1.0)
    figure = claim_picture(result.claims[0], result)
    assert len(figure.axes) == len(shown_panels(CLAIMS[id_][0], evidence[id_].curves))
    return figure


def _texts(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_each_part_is_a_row_with_its_seeds_and_the_zone_of_its_rule():
    figure = _picture("C4", {"first 200 steps": [-0.3, -0.2, -0.1], "second half": [0.1, 0.2]})
    (axes,) = figure.axes
    assert _texts(axes) == [
        "first 200 steps\n-0.2 (-0.448 to 0.0484)\nNOT DECIDED",
        "second half\n0.15 (-0.485 to 0.785)\nNOT DECIDED",
    ]
    seeds = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert seeds == [[-0.3, -0.2, -0.1], [0.1, 0.2]]
    assert [bar.get_x() for bar in axes.patches] == [0.05, 0.05]
    assert axes.patches[0].get_x() + axes.patches[0].get_width() == axes.get_xlim()[1]
    assert "not decided (expected: contradicted) · n = 2 to 3" in figure.get_supxlabel()
    assert figure.get_suptitle().startswith("C4  Batch norm reduces")


def test_errors_are_drawn_on_a_logarithmic_axis():
    figure = _picture("X5", {
        "folds into a convolution": [0.0], "predicting": [1e-16], "training": [0.3],
    })  # fmt: skip
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [line.get_xdata()[0] for line in axes.lines] == [1e-18, 1e-16, 0.3, 1e-6]


def test_curves_stand_beside_the_rows():
    curves = {
        f"{norm}, {share}": [(0.0, low), (120.0, low + 1)]
        for norm in ("no norm", "batch norm")
        for share, low in (("15 %", -1.0), ("50 %", 0.0), ("85 %", 1.0))
    }
    figure = _picture("C5", {"normalized": [0.9, 0.8], "scaled and shifted": [0.2, 0.3]}, curves)
    _, axes = figure.axes
    assert {text.get_text() for text in axes.texts} == {"no norm, 50 %", "batch norm, 50 %"}
    assert len(axes.lines) == 6
    assert len({line.get_color() for line in axes.lines}) == 2


def test_panels_stand_below_each_other_with_the_curves_of_their_prefixes():
    curves = {
        f"{kind}: {norm}": [(0.0, low), (40.0, low + 1)]
        for kind, low in (("absolute", -3.0), ("scale-free", 0.0))
        for norm in ("no norm", "batch norm")
    }
    parts = {part.name: [0.1, 0.2] for part in CLAIMS["L2"][0].parts}
    rows, first, second = _picture("L2", parts, curves).axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == [
        "|g' - g| along the gradient", "|g' - g| / |g|",
    ]  # fmt: skip
    assert [line.get_ydata()[0] for line in first.lines] == [-3, -3]
    assert [line.get_ydata()[0] for line in second.lines] == [0, 0]
    assert {text.get_text() for text in second.texts} == {"no norm", "batch norm"}
    above, below, beside = (axes.get_position() for axes in (first, second, rows))
    assert above.y0 > below.y1
    assert (above.y1, below.y0) == pytest.approx((beside.y1, beside.y0))


def test_a_band_is_between_the_lowest_and_the_highest_and_labelled_once():
    curves = {
        f"{kind}: {norm}, {end}": [(1.0, high), (2.0, high + 1)]
        for kind in ("taught", "paper")
        for norm in ("no norm", "batch norm")
        for end, high in (("lowest", 1.0), ("highest", 2.0))
    }
    figure = _picture("L4", {"along one gradient": [0.0]}, curves)
    taught, paper = figure.axes  # the check of a definition needs no row
    assert figure.get_supxlabel().endswith("for all pairs, else 0.")
    for axes in (taught, paper):
        assert sorted(text.get_text() for text in axes.texts) == ["batch norm", "no norm"]
        for band in axes.collections:
            (path,) = band.get_paths()
            assert {tuple(point) for point in path.vertices} == {(1, 1), (2, 2), (1, 2), (2, 3)}
    assert taught.get_title(loc="left") == "often taught: 4 trainings, 4 learning rates"


def test_an_axis_of_powers_of_two_has_ticks_at_them():
    curves = {"batch norm": [(8.0, 0.2), (16.0, 0.7), (256.0, 0.8)]}
    parts = {part.name: [0.1, 0.2] for part in CLAIMS["B2"][0].parts}
    _, axes = _picture("B2", parts, curves).axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "32", "128"]
    assert axes.get_xlim()[0] > 2


def test_long_numbers_below_rows_do_not_touch():
    parts = {part.name: [-0.04, -0.01, 0.005] for part in CLAIMS["B4"][0].parts}
    (axes,) = _picture("B4", parts).axes
    low, high = axes.get_xlim()
    ticks = axes.get_xticks()
    assert len([tick for tick in ticks if low <= tick <= high]) <= 4


def test_panels_of_fewer_seeds_say_so():
    for claim, panel in PANELS.items():
        for one in panel.column:
            is_said = any(words in one.title for words in ("seed 0", "one seed", "each seed"))
            assert is_said == (one.seeds != MEANS) or claim == "L4", claim  # whose limits say it


def test_a_part_without_values_has_an_empty_row():
    figure = _picture("R2", {"relu": [0.1, 0.11, 0.12], "sigmoid": []})
    assert _texts(figure.axes[0])[1] == "sigmoid\n-\nNOT DECIDED"


@pytest.mark.parametrize("id_", ["A2", "S3", "S4", "S9", "X8"])  # a law, dots, a definition, …
def test_claims_of_every_kind_can_be_drawn(id_):
    claim, _ = CLAIMS[id_]
    curves = {"a curve": [(1.0, 0.5), (2.0, 0.7)]} if id_ in PANELS else {}
    figure = _picture(id_, {part.name: [1.0, 1.5] for part in claim.parts}, curves)
    assert len(figure.axes) == 1 + (id_ in PANELS)


def test_the_panels_are_of_claims():
    assert set(PANELS) <= set(CLAIMS)
