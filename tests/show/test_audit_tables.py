"""An audit on the screen, whole, at two widths; and as a picture."""

import dataclasses

import torch

import bnrun
from bnrun.health.evidence import Evidence, Loading, NormPlace, Outputs, Seen, Statistics
from bnrun.health.finding import Finding
from bnrun.health.report import Audit
from bnrun.show.audit_tables import MOST_NORMS


def norm(name: str, shift: float, **fields: object) -> NormPlace:
    """A norm of two channels, whose moving means are `shift` deviations off."""
    ones = torch.ones(2, dtype=torch.float64)
    seen = Seen(Statistics(64, 0 * ones, ones), ())
    place = NormPlace(
        name, "batch", "torch.nn.BatchNorm1d", ("BatchNorm1d",), 2, momentum=0.1, eps=0.0,
        has_momentum=True, batches_tracked=1200, gamma=ones, moving_mean=shift * ones,
        moving_var=ones, seen={"training": seen},
    )  # fmt: skip
    return dataclasses.replace(place, **fields)  # type: ignore[arg-type]


LAYER = NormPlace("head.norm", "layer", "torch.nn.LayerNorm", ("LayerNorm",), 16, eps=1e-5)
FINDINGS = (
    Finding(
        "inputs-changed",
        "error",
        ("stem.norm",),
        "stem.norm's moving statistics lie 3.2 deviations from those of its input, and 0.01 with "
        "x / 255",
        "The inputs are 0..255, and were 0..1 in training.",
        "x = x / 255",
    ),
    Finding(
        "stale",
        "warning",
        ("stem.norm", "body.norm"),
        "body.norm's moving statistics lie 1.5 deviations from those of its input",
        "They are averages.",
        "--recalibrate fixed.pt",
        under="inputs-changed",
    ),
    Finding("gamma-off", "warning", ("body.norm",), "|γ| ≤ 0.001", "Nothing passes.", "prune"),
)
AUDIT = Audit(
    Evidence(
        "path/to/my_net.py:build",
        (norm("stem.norm", 3.2), norm("body.norm", 1.5, momentum=None), LAYER),
        batches=(32, 32),
        outputs=Outputs(
            accuracies={"moving": 0.31, "training": 0.8, "batch": 0.84, "population": 0.85},
            distances={"training": 1.1, "batch": 0.96, "population": 0.95},
            drift={"stem.norm": 2.0, "body.norm": 1.0},
            examples=64,
        ),
        loading=Loading(file="best.pt", unwrapped=("model", "module."), others=("ema",)),
        parameters=1234567,
        passes=5,
    ),
    FINDINGS,
    printed=1,
    remarks=("The code asks for CUDA, which is not here; it ran on the CPU.",),
)

AT_80 = """\
my_net.py:build: ill, 1 error, 1 warning and 1 thing that follows from them
3 norms, 1,234,567 parameters.
Weights: best.pt; wrappers taken off: 'model', 'module.'; not taken: 'ema'.
Statistics over 64 examples in 2 batches, predictions over 64; 5 passes.
The code printed 1 line, not shown here.

1  error: Inputs are others than in training
   The inputs are 0..255, and were 0..1 in training.
   Evidence: stem.norm's moving statistics lie 3.2 deviations from those of its
   input, and 0.01 with x / 255
   Fix: x = x / 255
   inputs-changed, in stem.norm
   from this follows: Moving statistics do not fit these inputs: body.norm's
   moving statistics lie 1.5 deviations from those of its input (stale, in
   stem.norm, body.norm)

2  warning: Channels are switched off by γ
   Nothing passes.
   Evidence: |γ| ≤ 0.001
   Fix: prune
   gamma-off, in body.norm

                                             batches          nearly
norm       kind   channels  momentum    eps  tracked  off by     off
────────────────────────────────────────────────────────────────────
stem.norm  batch         2       0.1      0    1,200     3.2       0
body.norm  batch         2   average      0    1,200     1.5       0
head.norm  layer        16            1e-05
off by: distance of moving statistics from population ones, in deviations of the
latter

statistics        accuracy   against moving   outputs apart
───────────────────────────────────────────────────────────
moving              0.3100
population          0.8500    +54.00 points            0.95
batch               0.8400    +53.00 points            0.96
in train() mode     0.8000    +49.00 points             1.1
With moving and population statistics, outputs part at stem.norm first: 2
deviations.
The code asks for CUDA, which is not here; it ran on the CPU.
"""

AT_60 = """\
my_net.py:build: ill, 1 error, 1 warning and 1 thing that
follows from them
3 norms, 1,234,567 parameters.
Weights: best.pt; wrappers taken off: 'model', 'module.';
not taken: 'ema'.
Statistics over 64 examples in 2 batches, predictions over
64; 5 passes.
The code printed 1 line, not shown here.

1  error: Inputs are others than in training
   The inputs are 0..255, and were 0..1 in training.
   Evidence: stem.norm's moving statistics lie 3.2
   deviations from those of its input, and 0.01 with x / 255
   Fix: x = x / 255
   inputs-changed, in stem.norm
   from this follows: Moving statistics do not fit these
   inputs: body.norm's moving statistics lie 1.5 deviations
   from those of its input (stale, in stem.norm, body.norm)

2  warning: Channels are switched off by γ
   Nothing passes.
   Evidence: |γ| ≤ 0.001
   Fix: prune
   gamma-off, in body.norm

                                        batches off nearly
norm      kind  channels momentum   eps tracked  by    off
──────────────────────────────────────────────────────────
stem.norm batch        2      0.1     0   1,200 3.2      0
body.norm batch        2  average     0   1,200 1.5      0
head.norm layer       16          1e-05
off by: distance of moving statistics from population ones,
in deviations of the latter

statistics        accuracy   against moving   outputs apart
───────────────────────────────────────────────────────────
moving              0.3100
population          0.8500    +54.00 points            0.95
batch               0.8400    +53.00 points            0.96
in train() mode     0.8000    +49.00 points             1.1
With moving and population statistics, outputs part at
stem.norm first: 2 deviations.
The code asks for CUDA, which is not here; it ran on the
CPU.
"""


def test_the_screen_has_the_verdict_first_then_causes_with_what_follows_from_them() -> None:
    assert bnrun.render(AUDIT, 80) == AT_80


def test_on_a_narrow_screen_nothing_is_cut() -> None:
    assert bnrun.render(AUDIT, 60) == AT_60


def test_of_many_norms_those_that_findings_name_and_the_furthest_off_are_shown() -> None:
    norms = tuple(norm(f"n{at}", at / 1000) for at in range(MOST_NORMS + 10))
    finding = dataclasses.replace(FINDINGS[2], layers=("n0",))
    evidence = Evidence("net", norms, batches=(4,))
    shown = bnrun.render(Audit(evidence, (finding,)), 80)
    assert "\nn0 " in shown
    assert "\nn10 " not in shown
    assert f"\nn{MOST_NORMS + 9} " in shown
    assert "and 10 more; norms that findings name come first, then the furthest off" in shown


def test_a_network_without_data_has_no_rows_of_predictions() -> None:
    shown = bnrun.render(Audit(Evidence("net", (LAYER,)), ()), 80)
    assert shown.startswith("net: healthy\n1 norm, 0 parameters.\n")
    assert "outputs" not in shown


def test_a_network_without_a_norm_is_not_called_healthy() -> None:
    audit = Audit(Evidence("net", ()), ())
    assert bnrun.render(audit, 80).startswith("net: no norm to audit\n0 norms, 0 parameters.\n")
    assert audit.to_dict()["verdict"] == "healthy"


def test_outputs_that_are_not_finite_are_said_to_be_so() -> None:
    nan = float("nan")
    outputs = Outputs(distances={"population": nan}, drift={"stem.norm": nan}, examples=64)
    shown = bnrun.render(Audit(dataclasses.replace(AUDIT.evidence, outputs=outputs), ()), 80)
    assert "\npopulation      not finite\n" in shown
    assert "part at stem.norm first: values that are not finite." in " ".join(shown.split())


def test_a_norm_of_bare_numbers_is_a_norm_wherever_it_is_named() -> None:
    stale = dataclasses.replace(FINDINGS[1], under=None, layers=("1", "0"))
    evidence = Evidence("net", (norm("1", 0.0),), batches=(1,))
    shown = bnrun.render(Audit(evidence, (stale,)), 80)
    assert "stale, in norm 1, layer 0\n" in shown
    assert "Statistics over 1 example in 1 batch" in shown


def test_a_network_without_moving_statistics_is_shown_by_mode_alone() -> None:
    outputs = Outputs(
        accuracies=dict.fromkeys(("moving", "training", "batch", "population"), 0.5),
        distances=dict.fromkeys(("training", "batch", "population"), 0.0),
        examples=4,
    )
    shown = bnrun.render(Audit(Evidence("net", (LAYER,), batches=(4,), outputs=outputs), ()), 80)
    assert "off by:" not in shown
    assert shown.endswith("""
predictions       accuracy   against eval()   outputs apart
───────────────────────────────────────────────────────────
in eval() mode      0.5000
in train() mode     0.5000     +0.00 points               0
""")


def test_the_headline_counts_what_is_numbered_and_what_follows_apart() -> None:
    cause, stale, _ = FINDINGS
    other = dataclasses.replace(stale, layers=("2",))
    shown = bnrun.render(Audit(AUDIT.evidence, (cause, stale, other)), 80)
    first = shown.splitlines()[0]
    assert first == "my_net.py:build: ill, 1 error and 2 things that follow from it"
    assert "(stale, in layer 2)" in " ".join(shown.split())


def test_a_picture_without_curves_says_why() -> None:
    for evidence, words in (
        (Evidence("net", (norm("n", 0.0, seen={}),)), "No data: add --data."),
        (Evidence("net", (LAYER,), batches=(4,)), "No norm keeps moving statistics here."),
    ):
        axes = bnrun.plot(Audit(evidence, ())).axes
        assert [text.get_text() for one in axes for text in one.texts] == [words, words]


def test_the_picture_has_a_curve_for_means_for_deviations_and_for_outputs() -> None:
    left, right = bnrun.plot(AUDIT).axes
    means, deviations = (line for line in left.lines if len(line.get_xdata()) == 2)
    assert [float(y) for y in means.get_ydata()] == [3.2, 1.5]
    assert [float(y) for y in deviations.get_ydata()] == [0, 0]
    assert [label.get_text() for label in left.get_xticklabels()] == ["stem.norm", "body.norm"]
    assert [float(y) for y in right.lines[0].get_ydata()] == [2.0, 1.0]
