"""Study `batches`: what is made of made-up trainings, and its own trainings on few images."""

import pytest
import torch
from made_up_trainings import MadeUpLaboratory, epoch, summary

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split, image_order
from bnrun.events import drain
from bnrun.studies import batches
from bnrun.studies.norm_batches import (
    Outcome,
    accuracy_in_pieces,
    in_order_of_classes,
    trained,
)
from bnrun.studies.study import plan, run_study
from bnrun.training.checkpoint import capture
from bnrun.training.engine import EAGER
from bnrun.training.model import build_model
from bnrun.training.optimizer import build_optimizer

TEST = {2: 0.70, 4: 0.74, 8: 0.78, 16: 0.80, 32: 0.81, 64: 0.82, 128: 0.84, None: 0.81}


def _outcome(one):
    """Group norm has .75; a large batch goes from .5 up, by two points an epoch."""
    settings, seed = one.config.training, one.config.training.seed
    if settings.batch_size == 4096:
        accuracies = [0.5 + 0.02 * number for number in range(settings.epochs)]
    elif one.config.model.norm == "group":
        accuracies = [0.75]
    else:
        accuracies = [TEST[settings.norm_batch] + 0.01 * seed]
    if settings.batch_size < 256:
        accuracies = [settings.batch_size / 1000]
    epochs = [epoch(n, population=a, test=0.1) for n, a in enumerate(accuracies, 1)]
    if one.config.model.norm == "group":
        epochs = [epoch(1, test=accuracies[0])]
    return summary(one, *epochs)


@pytest.fixture
def no_training(monkeypatch):
    """Trainings outside the laboratory: on few images pieces gain .03; renorm .2 by class."""

    def load(config):
        yield from ()
        labels = torch.arange(600) % 10
        split = Split(torch.zeros(600, 1, 28, 28, dtype=torch.uint8), labels)
        return Dataset(split, split, "synthetic", "generated", None)

    def trained(config, train, dataset, steps, engine):
        together, norm = config.training.norm_batch, config.model.norm
        if norm == "renorm" or config.model.norm_options:
            assert (steps, config.model.norm_options["momentum"]) == (60, 0.01)
            if norm == "renorm":  # five steps without correction, counted in pieces
                assert config.model.norm_options["warmup"] * together == 5 * 256
            is_sorted = bool(
                (train.labels[image_order(config.training.seed, 1, 600)][:26] == 0).all()
            )
            assert is_sorted == (together == 32)
            accuracy = 0.6 + (0.2 if (norm, together) == ("renorm", 32) else 0.0)
        else:
            assert (steps, len(train)) == (400, 600)
            accuracy = {16: 0.63, None: 0.6}[together]
        return Outcome(accuracy, [2.0] * 10 + [1.0] * 10)

    monkeypatch.setattr("bnrun.data.load.load", load)
    monkeypatch.setattr("bnrun.studies.norm_batches.trained", trained)
    monkeypatch.setattr(
        "bnrun.studies.norm_batches.accuracy_in_pieces", lambda config, state, test: 0.6
    )
    monkeypatch.setattr(batches, "FEW_IMAGES", 600)


def _measured(*ids, budget="quick"):
    laboratory = MadeUpLaboratory(_outcome)
    start = plan(batches.STUDY, budget, "a machine")
    return drain(run_study(start, laboratory, ids)).evidence, laboratory.asked


@pytest.mark.usefixtures("no_training")
def test_the_claims_compare_test_accuracies_by_what_is_normalized_together():
    evidence, asked = _measured("B1", "B2", "B3", "B4")
    values = {id_: {k: pytest.approx(v) for k, v in one.values.items()}
              for id_, one in evidence.items()}  # fmt: skip
    assert values == {
        "B1": {"256 less 2": [0.11, 0.11], "256 less 8": [0.03, 0.03]},
        "B2": {
            "pieces of 8: group norm is better": [-0.03, -0.04],
            "pieces of 64: batch norm is better": [0.07, 0.08],
        },
        "B3": {"better than 256": [0.02, 0.02], "better than 16": [0.03, 0.03]},
        "B4": {
            "60,000 images, pieces of 16": [-0.01, -0.01],
            "60,000 images, pieces of 64": [0.01, 0.01],
            "2,000 images, pieces of 16": [0.03, 0.03],
        },
    }
    assert evidence["B2"].remark == (
        "Group norm is better, beyond its interval, with no size of piece."
    )
    assert evidence["B4"].remark.endswith(
        "0.630 with pieces of 16, and 0.600 with the whole batch."
    )
    assert {one.config.training.batch_size for one in asked} == {256}
    assert {one.name for one in asked if one.arm == "group"} == {"group-s0", "group-s1"}


@pytest.mark.usefixtures("no_training")
def test_the_curves_are_over_what_is_normalized_together():
    evidence, _ = _measured("B1", "B2", "B3")
    first, second, third = (evidence[id_].curves for id_ in ("B1", "B2", "B3"))
    assert list(first) == ["training", "test, in pieces", "test, population"]
    assert first["test, population"][0] == (2, pytest.approx(0.705))
    assert first["training"][-1] == (256, 0.8)
    assert second["group norm"] == [(float(m), 0.75) for m in (2, 8, 16, 64, 128, 256)]
    assert [m for m, _ in third["batch norm"]] == [8, 16, 64, 128, 256]


@pytest.mark.usefixtures("no_training")
def test_thorough_couples_the_step_to_what_is_normalized():
    evidence, asked = _measured("B1", budget="thorough")
    coupled = {(one.config.training.batch_size, one.config.optimizer.lr)
               for one in asked if one.arm.startswith("coupled")}  # fmt: skip
    assert {size: rate for size, rate in coupled if size < 8} == {2: 1 / 128, 4: 1 / 64}
    assert evidence["B1"].curves["test, coupled"][0] == (2, pytest.approx(0.002))
    assert evidence["B1"].remark.endswith("test accuracy is 0.002 with 2, 0.820 with 256.")


def test_a_large_batch_is_compared_at_equal_epochs_and_at_equal_steps():
    evidence, asked = _measured("B5")
    assert {part: pytest.approx(one) for part, one in evidence["B5"].values.items()} == {
        "equal epochs: a point less": [0.31, 0.32],
        "equal steps: no point less": [-0.01, -0.02],
    }
    curves = evidence["B5"].curves
    assert curves["batches of 256"] == [(235, pytest.approx(0.815))]
    assert [step for step, _ in curves["batches of 4,096"]][:2] == [15, 30]
    assert {one.name for one in asked if one.config.training.batch_size == 4096} == {
        "batches-of-4096-s0", "batches-of-4096-s1",
    }  # fmt: skip


@pytest.mark.usefixtures("no_training")
def test_renorm_is_compared_over_small_pieces_and_over_pieces_of_a_class():
    evidence, asked = _measured("B6")
    assert {part: pytest.approx(one) for part, one in evidence["B6"].values.items()} == {
        "pieces of 4": [0.0, 0.0],
        "pieces of 32, in order of classes": [0.2, 0.2],
    }
    curves = evidence["B6"].curves
    assert curves["renorm, as it comes"] == [(10, 2.0), (20, 1.0)]
    assert asked == []


def test_batches_come_in_order_of_classes_with_the_images_that_they_have(small):
    seed, size, count = 3, 100, len(small.train)
    found = in_order_of_classes(small.train, seed, size)
    order = image_order(seed, 1, count)
    for batch in order.split(size):
        labels = found.labels[batch]
        assert torch.equal(labels, labels.sort().values)
        assert torch.equal(labels, small.train.labels[batch].sort().values)
    sums = [split.images.flatten(1).sum(1).sort().values for split in (found, small.train)]
    assert torch.equal(*sums)


def test_a_training_of_its_own_gives_accuracy_and_the_last_epochs_losses(small):
    config = Config(training={"batch_size": 100, "norm_batch": 20})
    few = small.train.take(torch.arange(200))
    outcome = trained(config, few, small, 3, EAGER)
    assert len(outcome.losses) == 1  # of two steps an epoch
    assert 0 <= outcome.accuracy <= 1


def test_pieces_of_test_images_are_normalized_by_their_own_statistics(small):
    config = Config(training={"batch_size": 100, "norm_batch": 4})
    model = build_model(config)
    state = capture(model, build_optimizer(config, model))
    model.train()
    with torch.no_grad():
        pieces = [
            (model(images).argmax(1) == labels).sum() for images, labels in small.test.batches(4)
        ]
    expected = int(sum(pieces)) / len(small.test)
    assert accuracy_in_pieces(config, state, small.test) == pytest.approx(expected, abs=0.02)
