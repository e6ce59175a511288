"""The experiments of `regularize`, `places`, `zoo` and `shift`, on a few images."""

import dataclasses

import pytest
import torch

from bnrun.data.dataset import image_order
from bnrun.studies import domains, overfitting, partial_training
from bnrun.studies.changed_images import brightness, contrast, inversion, noise
from bnrun.studies.norm_measurements import by_contrast, step_seconds
from bnrun.studies.own_training import population_accuracy, take_steps
from bnrun.studies.trainings import trial
from bnrun.training.evaluation import accuracy, take_population
from bnrun.training.model import build_model
from bnrun.training.stepper import Stepper


def _config(**keys):
    return trial("arm", 0, training__epochs=1, training__batch_size=100, **keys).config


@pytest.fixture
def with_validation(small):
    return dataclasses.replace(small, validation=small.test)


def _parameters(model):
    return {name: one.detach().clone() for name, one in model.named_parameters()}


def test_gradients_can_be_changed_before_each_step(small):
    stepper = Stepper(_config(), small.train)
    before, seen = _parameters(stepper.model), []

    def remove():
        seen.append(stepper.model.fc3.weight.grad is not None)
        stepper.optimizer.zero_grad()

    take_steps(stepper, 2, remove)
    assert seen == [True, True]
    for name, one in stepper.model.named_parameters():
        assert torch.equal(one, before[name])


def test_population_statistics_leave_a_network_as_it_was(small):
    model = build_model(_config())
    before = model.norm1.running_mean.clone()
    found = population_accuracy(model, small, 200)
    assert torch.equal(model.norm1.running_mean, before)
    take_population(model, small.train, 200)
    assert found == accuracy(model, small.test)


def test_a_course_looks_before_the_first_step_and_after_every_few(with_validation):
    config = _config(training__norm_batch=50, model__norm_places=[1, 4])
    found = overfitting.course(config, with_validation, [2, 3])
    assert [look.step for look in found.looks] == [0, 2, 3]
    assert found.looks[0].loss == pytest.approx(2.5, abs=0.4)
    assert found.looks[-1].test_acc == found.validation_acc  # of the same images, here
    assert [len(one) for one in found.ratios] == [6, 84]
    assert overfitting.course(_config(model__norm="none"), with_validation, [1]).ratios == []


def test_looks_do_not_change_a_training(with_validation):
    config = _config(model__dropout=0.5, model__norm_places=[4])
    often, once = (overfitting.course(config, with_validation, steps) for steps in ([1, 2, 3], [3]))
    assert often.looks[-1] == once.looks[-1]


def test_dropout_widens_the_input_of_the_norm_behind_it_alone(small):
    torch.manual_seed(0)
    model = build_model(_config(model__dropout=0.5, model__activation="relu"))
    *before, behind = overfitting.variance_ratios(model, small.train, batch_size=100)
    assert torch.tensor(behind).median() > 1.3
    assert all(torch.tensor(one).median() < 1.1 for one in before)
    (none,) = (torch.tensor(one) for one in overfitting.variance_ratios(
        build_model(_config()), small.train, 300)[-1:])  # fmt: skip
    assert none.max() == pytest.approx(1, abs=1e-3)  # one batch of all: the same variance


def _changes(learning, small, monkeypatch):
    """How many numbers of each parameter change where only some learn."""
    seen = {}

    def keep(model, dataset, images):
        seen.update(model=model)
        return 0.5

    monkeypatch.setattr(partial_training, "population_accuracy", keep)
    before = _parameters(build_model(_config()))
    outcome = partial_training.only(learning, _config(), small)
    after = _parameters(seen["model"])
    return outcome, {
        name: int((after[name] != one).sum()) for name, one in before.items()
        if not torch.equal(after[name], one)
    }  # fmt: skip


def test_gamma_and_beta_can_learn_alone(small, monkeypatch):
    outcome, counts = _changes("norms", small, monkeypatch)
    assert set(counts) == {f"norm{n}.{name}" for n in (1, 2, 3, 4) for name in ("weight", "bias")}
    assert (outcome.test_acc, len(outcome.gammas)) == (0.5, 6 + 16 + 120 + 84)
    assert 0.5 < min(outcome.gammas) < 1 < max(outcome.gammas) < 1.5
    _, counts = _changes("norms and last layer", small, monkeypatch)
    assert {"fc3.weight", "fc3.bias"} < set(counts)
    assert len(counts) == 10


def test_as_many_random_weights_can_learn_alone(small, monkeypatch):
    _, counts = _changes("random weights", small, monkeypatch)
    assert not any(name.startswith("norm") for name in counts)
    # Some gradients are 0: those of biases before a norm, and of pixels that are always black.
    assert 0.5 * 452 < sum(counts.values()) <= 452


def test_decay_can_spare_gamma_and_beta(small):
    config = _config(optimizer__lr=1e-6)
    stepper = Stepper(config, small.train)
    before = _parameters(stepper.model)
    norms = partial_training._norm_parameters(stepper.model)
    model = {}

    def keep(given, dataset, images):
        model.update(_parameters(given))
        return 0.5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_training, "population_accuracy", keep)
        partial_training.decaying_weights(1e5, config, small)
    for name, one in before.items():
        factor = 1 if name.startswith("norm") else 0.9**3  # three steps of 1 - rate * decay
        assert torch.allclose(model[name], factor * one, atol=1e-4), name
    assert sum(one.numel() for one in norms) == 452


def test_standardized_images_have_mean_0_and_deviation_1(small, monkeypatch):
    seen = []

    def forward(model, images):
        seen.append(images)
        return model.fc3(images.flatten(1)[:, :84])

    monkeypatch.setattr("bnrun.networks.lenet.LeNet.forward", forward)
    partial_training.standardized_input(_config(model__norm="none"), small)
    trained = torch.cat(seen[:3])
    assert float(trained.mean()) == pytest.approx(0, abs=1e-4)
    assert float(trained.std()) == pytest.approx(1, abs=1e-4)
    assert float(seen[3].mean()) == pytest.approx(0, abs=0.1)  # test images by the same numbers


def test_images_are_changed_within_the_range_of_pixels():
    x = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    assert contrast(x, 0.5).flatten().tolist() == [64, 89, 166, 191]  # about 127.5
    assert brightness(x, 0.2).flatten().tolist() == [51, 102, 255, 255]
    assert inversion(x).flatten().tolist() == [255, 204, 51, 0]
    grey = torch.full((1, 1, 100, 100), 128, dtype=torch.uint8)
    assert float(noise(grey, 0.1).float().std()) == pytest.approx(25.5, rel=0.05)
    assert torch.equal(noise(grey, 0.1), noise(grey, 0.1))


def test_images_of_each_contrast_are_predicted_with_statistics_of_the_usual_ones(
    small, monkeypatch
):
    seen = []

    def made_up(model, split):
        seen.append((model.norm1.running_mean.clone(), split.images))
        return 0.9

    monkeypatch.setattr("bnrun.studies.norm_measurements.accuracy", made_up)
    config = _config(training__population_images=50)
    model = build_model(config)
    state = {"model": model.state_dict(), "attributes": {}}
    assert by_contrast(config, state, small, (0.3, 1.0)) == [(0.3, 0.9), (1.0, 0.9)]
    take_population(model, small.train, 50)
    assert all(torch.equal(mean, model.norm1.running_mean) for mean, _ in seen)
    assert torch.equal(seen[0][1], contrast(small.test.images, 0.3))
    assert torch.equal(seen[1][1], small.test.images)


def test_steps_are_timed_in_turns(small):
    configs = [_config(), _config(model__norm="none")]
    found = step_seconds(configs, small.train, rounds=2, steps=1)
    assert len(found) == 2
    assert all(seconds > 0 for seconds in found)


def test_a_domain_is_predicted_with_three_kinds_of_statistics(small):
    config = _config()
    state = {"model": build_model(config).state_dict(), "attributes": {}}
    found = domains.by_statistics(config, state, small, {"as it is": lambda images: images})
    accuracies = found["as it is"]
    assert accuracies["population"] == accuracies["target"]
    none = _config(model__norm="none")
    state = {"model": build_model(none).state_dict(), "attributes": {}}
    assert set(domains.by_statistics(none, state, small, {"inverted": inversion})["inverted"]) == {
        "moving"
    }


def test_training_stops_at_a_clean_accuracy(small, monkeypatch):
    accuracies = iter([0.2, 0.5, 0.9])
    monkeypatch.setattr(domains, "population_accuracy", lambda *given: next(accuracies))
    config = _config().with_training(epochs=3)  # nine steps
    model = domains.trained_to(0.5, config, small, every=2)
    assert model.norm1.num_batches_tracked == 4
    assert next(accuracies) == 0.9
    model = domains.trained_to(None, config, small, every=2)
    assert model.norm1.num_batches_tracked == 9


def test_an_attack_raises_the_loss_most(small):
    config = _config(model__norm="none")
    stepper = Stepper(config.with_training(batch_size=25), small.train)
    take_steps(stepper, 24)
    model = stepper.model
    found = domains.robustness(
        model, small.test, {"nothing": lambda images: images}, {"weak": 0.0, "strong": 0.3}
    )
    assert found["nothing"] == found["clean"] == pytest.approx(found["weak"])
    assert found["strong"] <= found["weak"]
    assert model.training


def test_company_is_of_few_classes_piece_by_piece():
    labels = torch.arange(10).repeat(20)
    index = domains.company(labels, piece=16, classes=2, seed=0)
    pieces = labels[index].view(-1, 16)
    assert len(pieces) == 200 // 16
    assert all(piece.bincount().tolist().count(8) == 2 for piece in pieces)
    assert len({tuple(piece.unique().tolist()) for piece in pieces}) > 5


def test_a_training_gets_its_company_as_drawn(small, monkeypatch):
    seen = []
    original = Stepper.take

    def take(self, *given):
        seen.append(self._batch[1])
        return original(self, *given)

    monkeypatch.setattr(Stepper, "take", take)
    found = domains.in_company(2, _config(training__norm_batch=20), small)
    assert all(len(piece.unique()) == 2 for labels in seen for piece in labels.split(20))
    assert set(found) == {"moving", "population"}
    assert len(image_order(0, 1, 300)) == sum(map(len, seen))
