"""Study `predict`: networks that predict with other statistics, and what is made of it."""

import pytest
import torch

from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded, drain
from bnrun.norms.population import batch_statistics, predicting
from bnrun.studies import predict, predictions
from bnrun.studies.predictions import CPU, Predictions, Trained, own_example
from bnrun.studies.study import plan, run_study
from bnrun.training.evaluation import accuracy, take_population, trained_model
from bnrun.training.model import build_model
from bnrun.training.probes.shadow import TRACKERS
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
    others = {"slow": Trained(CONFIG, _state(4), small)}
    return Predictions(CONFIG, [_state(1), _state(2), _state(3)], small, others)


def test_each_network_predicts_with_its_own_statistics(networks, small):
    for network, seed in ((networks, 3), (networks.others["slow"], 4)):
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
    textbook = Predictions(CONFIG, [_state(1)], small, {})
    with batch_statistics(textbook._model):
        assert textbook.depends_on_company() is True


def test_the_noise_of_a_batch_falls_with_the_root_of_its_size(networks, monkeypatch):
    monkeypatch.setattr(predictions, "EXAMPLES", 2)
    monkeypatch.setattr(predictions, "COMPANIES", 30)
    monkeypatch.setattr(predictions, "SIZES", (8, 32, 128))
    before = networks.moving()
    slope, points = networks.noise()
    assert slope == pytest.approx(-0.5, abs=0.12)
    assert [size for size, _ in points] == [8, 32, 128]
    assert networks.moving() == before


def test_an_example_that_weighs_nothing_changes_nothing(networks, small):
    x = small.test.images[:20].float() / 255
    with predicting(networks._model):
        before = networks._model(x)
        with own_example(networks._model, 0.0):
            torch.testing.assert_close(networks._model(x), before)
        assert torch.equal(networks._model(x), before)


def test_an_example_that_weighs_all_is_normalized_by_itself(small):
    model = trained_model(CONFIG, _state(1), CPU)
    x = small.test.images[:5].float() / 255
    with predicting(model), own_example(model, 1.0):
        found = model.norm1(model.conv1(x))
        inner = torch.nn.functional.instance_norm(model.conv1(x))
    gamma, beta = (one.detach().view(1, -1, 1, 1) for one in (model.norm1.weight, model.norm1.bias))
    torch.testing.assert_close(found, gamma * inner + beta)


def test_an_example_with_its_share_is_normalized_as_in_the_piece_that_it_is_from(small):
    model = trained_model(CONFIG, _state(1), CPU)
    with torch.no_grad():
        pair = model.conv1(small.train.images[:2].float() / 255)
        expected = model.norm1.train()(pair)[:1]
        model.norm1.running_mean.copy_(pair[1].mean((1, 2)))
        model.norm1.running_var.copy_(pair[1].var((1, 2), correction=0))
        with predicting(model), own_example(model, 0.5):
            torch.testing.assert_close(model.norm1(pair[:1]), expected, rtol=1e-4, atol=1e-4)


def test_trackers_are_judged_by_population_statistics(small):
    state = _state(1)
    model = trained_model(CONFIG, state, CPU)
    take_population(model, small.train, 10_000)
    norms = (model.norm1, model.norm2, model.norm3, model.norm4)
    exact = torch.cat([one for norm in norms for one in (norm.running_mean, norm.running_var)])
    averages = torch.stack([exact + 0.1 * number for number in range(len(TRACKERS))])
    sizes = [norm.num_features for norm in norms for _ in range(2)]
    state["probes"] = {"shadow": {"averages": averages, "sizes": sizes}}
    errors, accuracies = Predictions(CONFIG, [state], small, {}).trackers()
    assert errors[TRACKERS[0]] == pytest.approx(0, abs=1e-5)
    assert sorted(errors.values()) == list(errors.values())
    assert accuracies[TRACKERS[0]] == accuracy(model, small.test)


def test_only_the_trainings_that_the_claims_need_are_asked_for():
    arms = {
        ids: [one.arm for one in predict._trials("quick", 0, ids)]
        for ids in (("S3",), ("S2", "S6"), ("S1",))
    }
    assert arms == {
        ("S3",): ["scratch-lr1"],
        ("S2", "S6"): ["scratch-lr1", "scratch-lr0.1", "scratch-pieces-of-4"],
        ("S1",): ["scratch-lr1"],
    }


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

    def noise(self):
        return -0.51, [(16.0, 0.2), (64.0, 0.1)]

    def own_gain(self, weight):
        return {1 / 4: 0.03, 1 / 256: 0.0001}[weight]

    def trackers(self):
        errors = dict.fromkeys(TRACKERS, 0.5) | {"0.1": 0.2, "1/k": 0.9}
        accuracies = dict.fromkeys(TRACKERS, 0.8) | {"0.1": 0.85, "1/k": 0.3}
        return errors, accuracies


class _Networks(_Network):
    averaged = _Network(0.6)
    others = {"slow": _Network(0.865), "pieces": _Network(0.8)}  # noqa: RUF012


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

    def compute(self, data, parts):
        yield from ()
        return [part(None) for part in parts.values()]


@pytest.fixture
def found(monkeypatch):
    def of_seed(budget, seed, laboratory, ids):
        networks = _Networks(0.8 + 0.01 * seed)
        return lambda dataset: {id_: predict.MEASUREMENTS[id_](networks) for id_ in ids}

    monkeypatch.setattr(predict, "_of_seed", of_seed)
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
    assert values["S3"] == {
        "1/k has the smaller error": pytest.approx([-0.7] * 2),
        "1/k predicts better": pytest.approx([-0.55] * 2),
    }
    assert "0.1: 0.2, 0.850" in found.evidence["S3"].remark
    assert values["S6"] == {
        "pieces of 4: a gain": pytest.approx([0.03] * 2),
        "batches of 256: the same": pytest.approx([0.0001] * 2),
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
