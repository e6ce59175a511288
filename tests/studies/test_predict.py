"""Study `predict`: networks that predict with other statistics, and what is made of it."""

import pytest
import torch

from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded, drain
from bnrun.norms.population import batch_statistics
from bnrun.studies import predict, predictions
from bnrun.studies.predictions import CPU, Predictions
from bnrun.studies.study import plan, run_study
from bnrun.training.evaluation import accuracy, take_population, trained_model
from bnrun.training.model import build_model
from bnrun.training_summary import Summary

CONFIG = Config()


def _state(seed, norm="scratch"):
    """Return a checkpoint of a network with random statistics, as training leaves it."""
    model = build_model(_config(norm).with_training(seed=seed))
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return {"model": model.state_dict(), "attributes": {}}


def _config(norm):
    return CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"norm": norm})})


@pytest.fixture
def networks(small):
    return Predictions(CONFIG, [_state(1), _state(2), _state(3)], _state(4), small)


def test_each_network_predicts_with_its_own_statistics(networks, small):
    for network, seed in ((networks, 3), (networks.slow, 4)):
        assert network.moving() == accuracy(trained_model(CONFIG, _state(seed), CPU), small.test)


def test_population_statistics_are_taken_for_one_prediction_alone(networks, small):
    before = networks.moving()
    model = trained_model(CONFIG, _state(3), CPU)
    take_population(model, small.train, 100)
    assert networks.population(100) == accuracy(model, small.test)
    for norm in (model.norm1, model.norm2, model.norm3, model.norm4):
        norm.eps = 10.0
    assert networks.population(100, eps=10.0) == accuracy(model, small.test)
    assert networks.moving() == before


def test_a_batch_predicts_with_its_own_statistics(networks, small):
    model = trained_model(CONFIG, _state(3), CPU)
    with batch_statistics(model):
        assert networks.batch(25) == accuracy(model, small.test, 25)


def test_averaged_weights_have_the_statistics_of_the_last_epoch(networks):
    mean = networks.averaged._model.state_dict()
    states = [_state(seed)["model"] for seed in (1, 2, 3)]
    for name, value in mean.items():
        if "running" in name or "num_batches" in name:
            assert torch.equal(value, states[2][name])
        else:
            expected = torch.stack([state[name] for state in states]).mean(0)
            torch.testing.assert_close(value, expected)


def test_a_prediction_depends_on_its_company_only_with_the_batchs_statistics(networks, small):
    assert networks.depends_on_company() is False
    textbook = Predictions(CONFIG, [_state(1)], _state(1), small)
    with batch_statistics(textbook._model):
        assert textbook.depends_on_company() is True


def test_the_noise_of_a_batch_falls_with_the_root_of_its_size(networks, monkeypatch):
    monkeypatch.setattr(predictions, "EXAMPLES", 2)
    monkeypatch.setattr(predictions, "COMPANIES", 30)
    monkeypatch.setattr(predictions, "SIZES", (8, 32, 128))
    before = networks.moving()
    assert networks.noise_slope() == pytest.approx(-0.5, abs=0.12)
    assert networks.moving() == before


class _Network:
    """Made-up accuracies."""

    def __init__(self, moving):
        self._moving = moving

    def moving(self):
        return self._moving

    def population(self, images, eps=None):
        return {1_000: 0.861, 10_000: 0.87, 60_000: 0.872}[images] - (0.1 if eps == 0.1 else 0)

    def batch(self, size):
        return {64: 0.866, 2: 0.31}[size]

    def depends_on_company(self):
        return False

    def noise_slope(self):
        return -0.51


class _Networks(_Network):
    slow, averaged = _Network(0.865), _Network(0.6)


class _Laboratory:
    """Trains nothing: test accuracy jumps, and less with population statistics."""

    def train(self, trials):
        yield from ()
        data = DataUsed("fashion-mnist", "a folder", True, 60_000, 0, 10_000)
        epochs = tuple(
            EpochEnded(n, 1.0, 0.9, moving, None, 1.0, 1.0, 1.0, test_acc_population=population)
            for n, (moving, population) in enumerate(
                [(0.8, 0.86), (0.7, 0.87), (0.82, 0.86), (0.6, 0.88)], 1
            )
        )
        return {
            one.name: Summary(
                one.config.to_dict(), "scratch", "cpu", "a machine", 0, data, epochs, "completed"
            )
            for one in trials
        }


@pytest.fixture
def found(monkeypatch):
    def networks(budget, seed, laboratory):
        yield from ()
        return _Networks(0.8 + 0.01 * seed)

    monkeypatch.setattr(predict, "_predictions", networks)
    return drain(run_study(plan(predict.STUDY, "quick", "a machine"), _Laboratory()))


def test_every_claim_gets_its_differences(found):
    values = {id_: dict(evidence.values) for id_, evidence in found.evidence.items()}
    assert found.unfinished == ()
    jumps, calm = (0.01 + 0.0144 + 0.0484) / 3, (0.0001 + 0.0001 + 0.0004) / 3
    assert values["S1"] == {"share": pytest.approx([1 - calm / jumps] * 2)}
    assert values["S2"] == {
        "1,000 less 60,000 images": pytest.approx([-0.011] * 2),
        "population less moving, rate 1.0": pytest.approx([0.07, 0.06]),
        "population less moving, rate 0.1": pytest.approx([0.005] * 2),
    }
    assert values["S4"] == {"definition": [0.0, 0.0]}
    assert values["S5"] == {
        "batches of 64": pytest.approx([0.004] * 2),
        "batches of 2 lose 10 points or more": pytest.approx([0.56] * 2),
    }
    assert values["S7"] == {"difference": pytest.approx([0.27] * 2)}
    assert values["S8"]["eps 1e-1"] == pytest.approx([-0.1] * 2)
    assert values["S9"] == {"slope": [-0.51, -0.51]}


def test_a_definition_that_fails_is_contradicted(found):
    claim = next(one for one in found.claims if one.claim.id == "S4")
    assert (claim.verdict, claim.is_surprise) == ("contradicted", False)
