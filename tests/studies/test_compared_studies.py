"""Studies `regularize`, `places`, `zoo` and `shift` on made-up trainings."""

import pytest
import torch
from made_up_trainings import MadeUpLaboratory, epoch, summary

from bnrun.data.dataset import Dataset, Split
from bnrun.events import drain
from bnrun.studies import places, regularize, shift, zoo
from bnrun.studies.overfitting import Course, Look
from bnrun.studies.partial_training import Outcome
from bnrun.studies.study import plan, run_study
from bnrun.studies.trainings import as_shares, best_rate, differences, final_accuracy, trial


def _untrained(one):
    raise AssertionError(f"{one.name} is trained")


UNTRAINED = MadeUpLaboratory(_untrained)


def _run(study, laboratory=UNTRAINED, ids=None):
    """The evidence of a study's quick run, by claim."""
    return dict(drain(run_study(plan(study, "quick", "a machine"), laboratory, ids)).evidence)


def _values(evidence):
    return {part: pytest.approx(list(taken)) for part, taken in evidence.values.items()}


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    """No images are read."""

    def load(config):
        yield from ()
        split = Split(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1).long())
        return Dataset(split, split, "synthetic", "generated", None, split)

    monkeypatch.setattr("bnrun.data.load.load", load)


def test_the_final_accuracy_is_that_with_population_statistics():
    one = trial("arm", 0)
    assert final_accuracy(summary(one, epoch(1, test=0.7), epoch(2, population=0.9))) == 0.9
    assert final_accuracy(summary(one, epoch(1, test=0.7))) == 0.7
    assert final_accuracy(summary(one, epoch(1), status="diverged")) is None


def test_the_best_rate_is_chosen_by_validation_images():
    trials = {rate: trial(f"lr{rate}", 0) for rate in (0.1, 0.3, 1.0)}
    outcomes = {
        "lr0.1-s0": summary(trials[0.1], epoch(1, test=0.9, validation=0.7)),
        "lr0.3-s0": summary(trials[0.3], epoch(1, test=0.5, validation=0.8)),
        "lr1.0-s0": summary(trials[1.0], epoch(1, validation=0.9), status="diverged"),
    }
    assert best_rate(trials, outcomes) == 0.3


def test_a_share_is_of_the_mean_way():
    start, end = [0.1, 0.3, None], [0.5, 0.5, 0.5]
    assert differences(end, start) == pytest.approx([0.4, 0.2])
    assert as_shares([0.15, 0.3], start, end) == pytest.approx([0.5, 1.0])
    assert as_shares([0.15], end, start) == []


def _course(losses, gaps, test=0.8, ratios=()):
    """A course whose network has one accuracy on test and validation images."""
    looks = [
        Look(10 * at, loss, test + gap, test)
        for at, (loss, gap) in enumerate(zip(losses, gaps, strict=True))
    ]
    return Course(looks, test, ratios)


def test_a_gap_is_taken_where_the_loss_first_is_reached():
    course = _course([2.3, 1.1, 0.5, 0.7, 0.3], [0.0, 0.02, 0.08, 0.1, 0.2])
    assert course.least_loss == 0.3
    assert [course.gap_at(loss) for loss in (2.3, 1.1, 0.8, 0.5, 0.4)] == pytest.approx(
        [0.0, 0.02, 0.05, 0.08, 0.175]
    )
    with pytest.raises(ValueError, match="never falls to 0.2"):
        course.gap_at(0.2)


@pytest.fixture
def courses(monkeypatch):
    """Made-up courses; the configs that were trained."""
    asked = []

    def course(config, dataset, looked_at, engine):
        assert looked_at == sorted(set(looked_at))
        asked.append((config, looked_at[-1]))
        model, seed = config.model, config.training.seed
        few = config.data.images is not None
        if model.norm == "none":
            return _course([2.3, 1.0], [0.0, 0.1])
        if config.training.norm_batch:
            return _course([2.3, 1.3, 0.7], [0.0, 0.03, 0.09])  # .06 at a loss of 1
        accuracy = 0.8 + {0.0: 0.0, 0.2: 0.02 if few else -0.01, 0.5: -0.05}[model.dropout]
        ratios = [[1.0, 1.02, 1.01]] * 3 + [[1.1 + model.dropout, 1.3 + model.dropout + seed]]
        gaps = [0.0, 0.07 + 0.01 * seed, 0.2]
        return _course([2.3, 1.0, 0.4], gaps, accuracy, ratios)

    monkeypatch.setattr("bnrun.studies.overfitting.course", course)
    return asked


def test_regularize_compares_gaps_at_equal_loss(courses):
    found = _run(regularize.STUDY)
    assert _values(found["D1"]) == {
        "256 together, 2,000 images": [0.03, 0.02],
        "16 together, 2,000 images": [0.04, 0.04],
        "256 together, 55,000 images": [0.03, 0.02],
    }
    assert found["D1"].remark == "At training losses of 1 to 1."
    assert found["D1"].curves["no norm"] == [
        (pytest.approx(-0.3617, abs=1e-4), 0.0),
        (0.0, pytest.approx(0.1)),
    ]
    configs = [config for config, _ in courses]
    assert {config.model.activation for config in configs} == {"relu"}
    assert {config.data.validation for config in configs} == {5_000}
    assert {(config.data.images, steps) for config, steps in courses} == {
        (2_000, 48), (None, 24),
    }  # fmt: skip
    assert len(configs) == 2 * 5 + 2 * 4


def test_regularize_takes_the_dropout_that_validation_images_choose(courses):
    found = _run(regularize.STUDY, ids=["D2"])
    assert _values(found["D2"]) == {"55,000 images": [0.01, 0.01], "2,000 images": [-0.02, -0.02]}
    assert found["D2"].remark == (
        "The better dropout: p = 0.2 with 55,000 images; p = 0.2 with 2,000 images."
    )
    assert found["D2"].curves["2,000 images"] == [
        (0.0, pytest.approx(0.8)), (0.2, pytest.approx(0.82)), (0.5, pytest.approx(0.75)),
    ]  # fmt: skip
    assert all(config.model.norm == "scratch" for config, _ in courses)


def test_regularize_compares_variances_behind_dropout_and_before_it(courses):
    found = _run(regularize.STUDY, ids=["D3"])
    assert _values(found["D3"]) == {
        "norm behind dropout": [1.7, 2.2],
        "norms before it": [1.01, 1.01],
        "accuracy that dropout costs": [0.05, 0.05],
    }
    assert [y for _, y in found["D3"].curves["p = 0.5"]] == pytest.approx([1.01, 1.01, 1.01, 1.95])
    assert {config.data.images for config, _ in courses} == {2_000}


TEST = {
    "no-norm": 0.4, "batch-norm": 0.8, "after-the-sigmoid": 0.82, "batch-norm-relu": 0.85,
    "after-the-relu": 0.84, "mean-only": 0.5, "variance-only": 0.7, "norm4-alone": 0.6,
    "decay-of-all-parameters": 0.79,
}  # fmt: skip
TRAINING = {
    "batch-norm": 0.9, "gamma-and-beta-fixed": 0.88, "batch-norm-relu": 0.9,
    "gamma-and-beta-fixed-relu": 0.901,
}  # fmt: skip


@pytest.fixture
def found_places(monkeypatch):
    """What study `places` makes of the accuracies above, and its laboratory."""

    def own(budget, id_, laboratory):
        yield from ()
        gammas = (0.001, -0.5, 0.009, 1.0)
        accuracies = {"gamma and beta alone": 0.6, "random weights": 0.35,
                      "standardized images": 0.45, "decay of weights and biases": 0.81}  # fmt: skip
        return {
            arm: [Outcome(accuracies.get(arm, 0.7), gammas)] * 2 for arm in places.OWN.get(id_, ())
        }

    def outcome(one):
        train, test = TRAINING.get(one.arm, 0.5), TEST.get(one.arm, 0.5)
        return summary(one, epoch(1, train=train, test=0.1, population=test))

    monkeypatch.setattr(places, "_own", own)
    laboratory = MadeUpLaboratory(outcome)
    return _run(places.STUDY, laboratory), laboratory


def test_places_compares_arms_by_seed(found_places):
    found, laboratory = found_places
    expected = {
        "P1": {"sigmoid": -0.02, "relu": 0.01},
        "P2": {"norm4 alone: half or more": 0.5},
        "P3": {"within a point": -0.35},
        "P4": {"variance-only less mean-only": 0.5},
        "P5": {"sigmoid": 0.02, "relu": -0.001},
        "P6": {"more than random weights": 0.25, "a third of gamma near 0": 0.5},
        "P7": {"a gain": -0.02},
    }
    for id_, parts in expected.items():
        assert _values(found[id_]) == {part: [value] * 2 for part, value in parts.items()}
    assert len({one.name for one in laboratory.asked}) == len(laboratory.asked)
    assert len(laboratory.asked) == 2 * len(places.ARMS)
    by_arm = {one.arm: one.config for one in laboratory.asked}
    assert by_arm["all-but-norm2"].model.norm_places == (1, 3, 4)
    assert by_arm["decay-of-all-parameters"].optimizer.weight_decay == 5e-4
    assert {config.data.images for config in by_arm.values()} == {12_000}
    assert found["P2"].curves["one norm"] == [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.6)]
    assert found["P6"].curves["gamma and beta alone"] == [
        (0.25, 0.001), (0.5, 0.009), (0.75, 0.5), (1.0, 1.0),
    ]  # fmt: skip
    assert found["P1"].remark == (
        "Accuracies: batch norm 0.800; after the sigmoid 0.820; batch norm, relu 0.850; "
        "after the relu 0.840."
    )


ZOO = {
    "batch-norm": 0.85, "group-norm": 0.84, "layer-norm": 0.845, "instance-norm": 0.8,
    "RMS-norm": 0.842, "DyT": 0.78, "no-norm": 0.75, "no-norm-larger-weights": 0.846,
    "group-norm-standardized-weights": 0.843, "weight-norm": 0.8,
}  # fmt: skip


@pytest.fixture
def found_zoo(monkeypatch):
    """What study `zoo` makes of the accuracies above, and its laboratory."""

    def by_contrast(config, state, dataset, factors):
        assert factors == (0.3, 0.6, 1.0)
        fall = 0.1 if config.model.norm == "instance" else 0.3 + 0.1 * config.training.seed
        return [(0.3, 0.8 - fall), (0.6, 0.7), (1.0, 0.8)]

    def seconds(configs, train, rounds, steps, engine):
        assert [config.model.norm for config in configs] == ["layer", "rms"]
        return [0.020, 0.019]

    def outcome(one):
        rate = one.config.optimizer.lr
        if one.arm.startswith("choice"):
            return summary(one, epoch(1, validation=0.8 - abs(rate - 0.3)))
        return summary(one, epoch(1, population=ZOO[one.arm.removesuffix("-lr0.3")]))

    monkeypatch.setattr("bnrun.studies.norm_measurements.by_contrast", by_contrast)
    monkeypatch.setattr("bnrun.studies.norm_measurements.step_seconds", seconds)
    laboratory = MadeUpLaboratory(outcome)
    return _run(zoo.STUDY, laboratory), laboratory


def test_zoo_compares_norms_at_the_rate_that_was_chosen_with_other_seeds(found_zoo):
    found, laboratory = found_zoo
    expected = {
        "Z1": {"batch less group": 0.01, "group less layer": -0.005, "layer less instance": 0.045},
        "Z4": {"accuracy: the same": 0.003, "7 % less time, or more": 0.05},
        "Z5": {"more than a point": 0.07},
        "Z6": {"a gain": 0.003},
        "Z7": {"within a point": 0.004, "within half a point": 0.004},
        "Z8": {"some of the way": 0.5, "half of it, or more": 0.5},
    }
    for id_, parts in expected.items():
        assert _values(found[id_]) == {part: [value] * 2 for part, value in parts.items()}
    assert _values(found["Z3"]) == {"batch less instance": [0.2, 0.3]}
    assert set(found["Z3"].curves) == {"batch norm", "instance norm"}
    assert found["Z2"].values["batches of 2 and of 256"][0] <= 1e-15
    choosing = [one.config for one in laboratory.asked if one.arm.startswith("choice")]
    training = [one.config for one in laboratory.asked if not one.arm.startswith("choice")]
    assert len(choosing) == len(training) == 2 * len(zoo.ARMS)  # two rates, two seeds
    assert {config.training.seed for config in choosing} == {1_000}
    assert {config.training.seed for config in training} == {0, 1}
    assert {config.data.validation for config in choosing} == {5_000}
    assert {(one.data.validation, one.optimizer.lr) for one in training} == {(0, 0.3)}
    assert found["Z5"].remark == (
        "Accuracies: batch norm 0.850; DyT 0.780. Rates: batch norm 0.3; DyT 0.3."
    )
    assert found["Z5"].curves["DyT"] == [(0.1, pytest.approx(0.6)), (0.3, pytest.approx(0.8))]


def test_shift_compares_statistics_in_each_domain(monkeypatch):
    def by_statistics(config, state, dataset, domains):
        assert state[1] == 1
        if config.model.norm != "scratch":
            return {name: {"moving": 0.5} for name in domains}
        gains = {"inversion": 0.3, "noise": 0.0, "contrast": 0.1, "brightness 0.2": 0.2}
        return {
            name: {"moving": 0.4, "population": 0.5, "target": 0.5 + gains.get(name, 0)}
            for name in domains
        }

    monkeypatch.setattr("bnrun.studies.domains.by_statistics", by_statistics)
    laboratory = MadeUpLaboratory(lambda one: summary(one, epoch(1)))
    found = _run(shift.STUDY, laboratory, ["H1"])["H1"]
    assert _values(found) == {
        "brightness 0.2": [0.2] * 2,
        "contrast": [0.1] * 2,
        "noise": [0.0] * 2,
        "inversion": [0.3] * 2,
    }
    assert {name: len(points) for name, points in found.curves.items()} == {
        "no norm": 4, "batch norm, moving": 4, "batch norm, population": 4,
        "batch norm, target": 4, "group norm": 4,
    }  # fmt: skip
    assert [y for _, y in found.curves["batch norm, target"]] == [0.5, 0.5, 0.7, 0.5]


def test_shift_leaves_out_what_diverged(monkeypatch):
    monkeypatch.setattr(
        "bnrun.studies.domains.by_statistics",
        lambda config, state, dataset, domains: {name: {"moving": 0.5} for name in domains},
    )
    laboratory = MadeUpLaboratory(
        lambda one: (
            summary(one, status="completed" if one.arm == "none" else "diverged")
            if one.arm != "none"
            else summary(one, epoch(1))
        )
    )
    found = _run(shift.STUDY, laboratory, ["H1"])["H1"]
    assert found.values["contrast"] == []
    assert set(found.curves) == {"no norm"}


def test_shift_attacks_at_equal_clean_accuracy(monkeypatch):
    goals = []

    def trained_to(goal, config, dataset, every, engine):
        goals.append((config.model.norm, goal))
        return config.model.norm

    def robustness(model, test, changes, strengths, engine):
        found = dict.fromkeys([*changes, *strengths], 0.4 if model == "none" else 0.3)
        return found | {"clean": 0.7}

    monkeypatch.setattr("bnrun.studies.domains.trained_to", trained_to)
    monkeypatch.setattr("bnrun.studies.domains.robustness", robustness)
    found = _run(shift.STUDY, ids=["H2"])["H2"]
    assert goals == [("none", None), ("scratch", 0.7)] * 2
    parts = ("FGSM .02", "FGSM .05", "noise of 0.2", "brighter by 0.2")
    assert _values(found) == {part: [0.1] * 2 for part in parts}
    assert found.curves["no norm"] == [(0.0, 0.7), (0.02, 0.4), (0.05, 0.4)]
    assert found.remark == "Clean accuracies: no norm 0.700; batch norm 0.700."


def test_shift_compares_falls_in_company_of_few_classes(monkeypatch):
    def in_company(classes, config, dataset, engine):
        assert config.training.norm_batch == 32
        few = {"scratch": 0.1, "group": 0.6, "none": 0.7}[config.model.norm]
        return {"moving": 0.7, "population": 0.7} if classes is None else (
            {"moving": few, "population": few + 0.05}
        )  # fmt: skip

    monkeypatch.setattr("bnrun.studies.domains.in_company", in_company)
    found = _run(shift.STUDY, ids=["H3"])["H3"]
    assert _values(found) == {"10 points more": [0.5, 0.5]}
    assert found.curves["batch norm, population"] == [(2, pytest.approx(0.15)), (10, 0.7)]
    assert set(found.curves) == {
        "no norm", "batch norm, moving", "batch norm, population", "group norm",
    }  # fmt: skip
