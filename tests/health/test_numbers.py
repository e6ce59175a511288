"""What findings say in numbers, from evidence made by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bnrun.events import drain
from bnrun.health.audit import audit_model
from bnrun.health.batches import to_batch
from bnrun.health.evidence import (
    CallStatistics,
    Evidence,
    Layer,
    Mode,
    NormPlace,
    Outputs,
    Seen,
    Statistics,
    Trial,
)
from bnrun.health.finding import Finding, in_words
from bnrun.health.findings import (
    batch_size,
    channels,
    dropout,
    find_all,
    freezing,
    inputs,
    moving_statistics,
    options,
    other_norms,
    replicas,
    reuse,
    structure,
)
from bnrun.health.harm import find_harm
from bnrun.health.session import MOST_REFINED
from bnrun.health.trials import _changes

NORM = NormPlace(
    name="norm",
    kind="batch",
    class_name="torch.nn.modules.batchnorm.BatchNorm1d",
    bases=("BatchNorm1d", "_BatchNorm", "_NormBase", "Module"),
    channels=4,
    momentum=0.1,
    has_momentum=True,
    eps=1e-5,
    batches_tracked=1000,
    gamma=torch.ones(4).double(),
    beta=torch.zeros(4).double(),
    moving_mean=torch.full((4,), 3.0).double(),
    moving_var=torch.ones(4).double(),
    gamma_learns=True,
    beta_learns=True,
    calls=1,
    input_shape=(32, 4),
)


SUFFERS = Outputs({"moving": 0.5, "population": 0.9}, examples=1000, classes=4)
"""Predictions with moving statistics are worse than with population ones."""


def found(topic: Any, norm: NormPlace = NORM, **more: Any) -> list[Finding]:
    return list(topic.find(Evidence("net", (norm,), **more)))


@pytest.mark.parametrize(("values", "error"), [(1, math.inf), (2, math.sqrt(2)), (9, 0.5)])
def test_the_expected_error_of_a_variance(values: int, error: float) -> None:
    assert batch_size.variance_error(values) == pytest.approx(error)


def test_the_batch_is_named_at_which_training_raises() -> None:
    (finding,) = found(batch_size, batches=(32, 32, 1), ended=True)
    assert finding.evidence == (
        "batch 3 of 3 batches (the last) has 1 example, which has 1 position there"
    )
    assert finding.message == "If training uses these batches, it raises at batch 3 of each epoch."
    assert finding.fix == "DataLoader(..., drop_last=True)"


def test_a_batch_of_one_with_many_positions_does_not_raise() -> None:
    norm = replace(NORM, input_shape=(32, 4, 7, 7))
    assert found(batch_size, norm, batches=(32, 32, 1), ended=True) == []


def test_micro_batches_name_the_momentum_that_forgets_as_fast() -> None:
    (finding,) = found(replicas, steps=250)
    assert finding.fix.startswith("momentum=0.026,")
    assert pytest.approx(1 - 0.1, abs=2e-3) == (1 - 0.026) ** 4


@pytest.mark.parametrize(
    ("norm", "severity"),
    [
        (replace(NORM, is_called=False, is_read=True), "note"),
        (replace(NORM, is_called=False), "note"),  # it has counted batches
        (replace(NORM, is_called=False, batches_tracked=0), "warning"),
    ],
)
def test_a_norm_that_is_never_called_is_a_note_where_it_may_be_right(
    norm: NormPlace, severity: str
) -> None:
    (finding,) = found(reuse, norm)
    assert (finding.id, finding.severity) == ("never-called", severity)
    assert found(reuse, replace(norm, takes_batch_after_eval=True)) == []


def test_each_norm_is_set_apart_from_its_numbers() -> None:
    gamma = torch.tensor([0.0, 1, 1, 1]).double()
    norms = tuple(replace(NORM, name=str(at), gamma=gamma) for at in range(6))
    (finding,) = channels.find(Evidence("net", norms))
    shown = "; ".join(f"norm {at}: 1 of 4 channels" for at in range(4))
    assert finding.evidence == f"|γ| ≤ 0.001 in {shown}; 2 more norms"


def test_a_norm_that_is_called_twice_counts_twice() -> None:
    assert found(replicas, replace(NORM, calls=2), steps=500) == []


def test_rounding_counts_where_the_mean_is_far_from_0() -> None:
    far = replace(NORM, dtypes={"moving_mean": "bfloat16", "moving_var": "bfloat16"})
    (finding,) = found(options, far)
    assert finding.numbers["error"] == pytest.approx(3 * 2**-7 / (2 * 0.1))
    assert found(options, replace(far, moving_mean=torch.zeros(4).double())) == []


def test_dropout_after_eval_is_named() -> None:
    drop = Layer("drop", "torch.nn.modules.dropout.Dropout", "dropout", training_after_eval=True)
    (finding,) = found(freezing, layers=(drop,))
    assert (finding.id, finding.severity, finding.layers) == (
        "training-after-eval",
        "warning",
        ("drop",),
    )


def test_groups_of_single_channels_after_pooling_have_one_value() -> None:
    group = replace(
        NORM,
        kind="group",
        class_name="torch.nn.modules.normalization.GroupNorm",
        options={"num_groups": 4},
        input_shape=(32, 4, 1, 1),
        moving_mean=None,
        moving_var=None,
    )
    assert [one.severity for one in found(batch_size, group, batches=(32,))] == ["error"]
    assert found(batch_size, replace(group, options={"num_groups": 2}), batches=(32,)) == []


def test_an_own_norm_whose_axes_are_unknown_is_not_judged() -> None:
    own = replace(NORM, kind="layer", class_name="my_net.LayerNorm", axes=None)
    assert found(other_norms, own) == []


def test_population_statistics_of_a_deep_network_are_a_first_estimate() -> None:
    """Passes with them as they are let an error grow from norm to norm: see MOST_REFINED."""
    for norms, passes in ((2, 5), (MOST_REFINED + 1, 4)):
        layers = [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(norms)]
        audit, _ = drain(audit_model(nn.Sequential(*layers), [torch.rand(9, 3)]))
        assert audit.evidence.passes == passes


@pytest.mark.parametrize(
    ("momentum", "fix"),
    [(0.99, "momentum=0.01"), (0.9, "momentum=0.1"), (1.0, "momentum=0.1"), (0.5, "momentum=0.1")],
)
def test_momentum_is_turned_round_where_that_is_a_momentum(momentum: float, fix: str) -> None:
    ids = {one.id: one for one in found(moving_statistics, replace(NORM, momentum=momentum))}
    assert ids["momentum-reversed"].fix == fix


@pytest.mark.parametrize(
    ("tracked", "fix"),
    [(1, "44 batches with momentum 0.1"), (10, "momentum=0.37 for 10 batches, or 44 batches with")],
)
def test_an_unfinished_average_is_not_sent_to_a_reversed_momentum(tracked: int, fix: str) -> None:
    (one,) = found(moving_statistics, replace(NORM, batches_tracked=tracked))
    assert one.fix.startswith(fix)
    assert f"{tracked} batch{'' if tracked == 1 else 'es'}, momentum 0.1" in one.evidence


@pytest.mark.parametrize(("is_output", "calls"), [(True, 1), (False, 2)])
def test_a_bias_that_something_else_reads_too_does_something(is_output: bool, calls: int) -> None:
    linear = Layer("linear", "Linear", "linear", has_bias=True)
    norm = Layer("norm", "BatchNorm1d", "norm", reads=("linear",))
    used = replace(linear, is_output=is_output, calls=calls)
    assert [one.id for one in found(structure, layers=(linear, norm))] == ["bias-before-norm"]
    assert found(structure, layers=(used, norm)) == []


@pytest.mark.parametrize(("apart", "severity"), [(0.9, "error"), (0.1, "warning")])
def test_other_inputs_are_an_error_where_outputs_lie_apart(apart: float, severity: str) -> None:
    """Population statistics of the wrong inputs predict no better than the moving ones."""
    accuracies: dict[Mode, float] = {"moving": 0.8, "population": 0.8}
    outputs = Outputs(accuracies, {"population": apart}, examples=1000, classes=4)
    trials = (Trial("x", "norm", 5.0), Trial("x / 255", "norm", 0.01))
    (finding,) = found(inputs, outputs=outputs, trials=trials)
    assert (finding.id, finding.severity) == ("inputs-changed", severity)


@pytest.mark.parametrize(("shape", "is_tried"), [((2, 1, 4, 4), True), ((2, 4), False)])
def test_only_images_are_called_inverted(shape: tuple[int, ...], is_tried: bool) -> None:
    batch = to_batch(torch.rand(shape), nn.Linear(1, 1))
    assert ("1 - x" in dict(_changes(batch))) == is_tried


def test_momentum_is_looked_at_in_a_network_as_built() -> None:
    new = replace(NORM, batches_tracked=0, moving_mean=torch.zeros(4).double())
    norms = tuple(replace(new, name=str(m), momentum=m) for m in (0.99, 0.9, 0.1))
    untrained, turned = moving_statistics.find(Evidence("net", norms))
    assert (untrained.id, turned.id, turned.layers) == (
        "untrained",
        "momentum-reversed",
        ("0.99", "0.9"),
    )
    assert turned.fix == "momentum=0.01 in place of 0.99, momentum=0.1 in place of 0.9"


def seen(**variances: float) -> dict[Any, Seen]:
    """What went into a norm, by mode: values of mean 0 and of this variance."""
    passes = {}
    for mode, variance in variances.items():
        one = Statistics(1000, torch.zeros(4).double(), torch.full((4,), variance).double())
        passes[mode] = Seen(one, (CallStatistics(0, 0, one),))
    return passes


@pytest.mark.parametrize(
    ("frozen", "ratio"), [((True, True), 2.0), ((False, False), 4.0), ((True, False), None)]
)
def test_dropout_is_told_apart_from_frozen_norms(
    frozen: tuple[bool, bool], ratio: float | None
) -> None:
    """Frozen norms normalize in training with moving statistics, and others with a batch's."""
    before = [
        replace(NORM, name=f"n{at}", training_after_train=not one) for at, one in enumerate(frozen)
    ]
    last = replace(NORM, seen=seen(training=4.0, moving=2.0, batch=1.0))
    findings = list(dropout.find(Evidence("net", (*before, last))))
    assert [one.numbers["ratios"]["norm"] for one in findings] == pytest.approx(
        [] if ratio is None else [ratio], rel=1e-3
    )
    assert all(one.message.startswith("Something (F.dropout,") for one in findings)
    still = replace(last, training_after_train=False)
    assert not list(dropout.find(Evidence("net", (*before, still))))


@pytest.mark.parametrize(
    ("moving", "severity", "words"),
    [
        (4.0, "error", ", and the moving variance holds it."),
        (1.9, "warning", "; the moving variance lies between."),
        (1.0, "note", "; the moving variance is that of prediction."),
    ],
)
def test_dropout_is_an_error_where_the_moving_variance_holds_it(
    moving: float, severity: str, words: str
) -> None:
    """Predictions suffer here, of whatever cause."""
    norm = replace(
        NORM,
        moving_mean=torch.zeros(4).double(),
        moving_var=torch.full((4,), moving).double(),
        seen=seen(training=4.0, batch=1.0),
    )
    (finding,) = found(dropout, norm, outputs=SUFFERS)
    assert (finding.severity, finding.message.endswith(words)) == (severity, True)
    assert ("accuracy" in finding.evidence) == (severity == "error")


@pytest.mark.parametrize(("mean", "severity"), [(0.3, "error"), (3.0, "warning")])
def test_reversed_momentum_is_an_error_where_noise_explains_the_distance(
    mean: float, severity: str
) -> None:
    """Else something else is the cause, and stands beside it."""
    calls = tuple(
        CallStatistics(at, 0, Statistics(8, torch.full((4,), m).double(), torch.ones(4).double()))
        for at, m in enumerate((0.3, -0.3))
    )
    everything = Statistics(16, torch.zeros(4).double(), torch.ones(4).double())
    norm = replace(
        NORM,
        momentum=0.9,
        moving_mean=torch.full((4,), mean).double(),
        seen={"training": Seen(everything, calls)},
    )
    found_all = find_all(Evidence("net", (norm,), outputs=SUFFERS))
    roots = {one.id: one.severity for one in found_all if one.under is None}
    expected = {"momentum-reversed": severity} | ({"stale": "error"} if mean > 1 else {})
    assert roots == expected


def test_a_name_of_bare_numbers_is_named_as_a_norm() -> None:
    assert [in_words(name) for name in ("stem.1", "0.1", "")] == [
        "stem.1",
        "norm 0.1",
        "the network",
    ]


@pytest.mark.parametrize(
    ("first", "evidence", "cause"),
    [
        ("1", "outputs are not finite from there on", "norm 1 holds them"),
        ("0", "outputs are not finite from layer 0 on", "They arise in layer 0, before or behind"),
    ],
)
def test_where_values_are_not_finite_a_norm_is_named_in_one_way(
    first: str, evidence: str, cause: str
) -> None:
    norm = replace(NORM, name="1", moving_var=torch.tensor([1.0, math.nan, 1.0, 1.0]))
    layers = (Layer(first, "Linear", "linear", finite=False),)
    (finding,) = (one for one in found(channels, norm, layers=layers) if one.id == "not-finite")
    assert finding.evidence == f"norm 1: moving variance not finite in 1 of 4 channels; {evidence}"
    assert finding.message.startswith(cause)


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (1.0, "outputs with moving and with population statistics lie 1 deviation apart"),
        (0.42, "outputs with moving and with population statistics lie 0.42 deviations apart"),
        (math.nan, "outputs with moving and with population statistics are not both finite"),
    ],
)
def test_how_far_outputs_lie_apart_is_said_in_deviations(apart: float, words: str) -> None:
    harm = find_harm(Evidence("net", (), outputs=Outputs(distances={"population": apart})))
    assert harm is not None
    assert harm.sentence == words


def test_without_moving_statistics_no_output_drifts() -> None:
    audit, _ = drain(
        audit_model(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), [torch.rand(4, 3)])
    )
    assert (audit.evidence.outputs.drift, audit.parts_at) == ({}, None)
