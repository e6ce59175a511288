"""What claims about layers measure: alike representations, travelling inputs, rates of weights."""

import pytest
import torch

from bnrun.config import Config
from bnrun.studies import percentiles, representations
from bnrun.studies.percentiles import travels
from bnrun.studies.ranks import rank_correlation
from bnrun.studies.representations import cka, first_converged
from bnrun.studies.weight_rates import accuracy_of_an_epoch
from bnrun.training.engine import COMPILED, EAGER
from bnrun.training.model import build_model
from bnrun.training.stepper import Stepper


@pytest.mark.parametrize(
    ("a", "b", "correlation"),
    [
        ([1, 2, 3], [10, 20, 40], 1.0),
        ([1, 2, 3], [3, 1, 0], -1.0),
        ([1, 2, 3, 4], [1, 1, 2, 2], 0.894),  # ranks 0.5, 0.5, 2.5, 2.5
        ([1, 2, 3], [5, 5, 5], 0.0),
    ],
)
def test_ranks_correlate(a, b, correlation):
    assert rank_correlation(a, b) == pytest.approx(correlation, abs=1e-3)


def test_representations_are_alike_but_for_a_rotation_and_a_scale():
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    assert cka(x, 3 * x @ rotation + 1) == pytest.approx(1)
    assert cka(x, torch.randn(50, 8)) < 0.5
    assert cka(x, torch.ones(50, 8)) == 0


def test_cka_is_the_formula_in_features():
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 6, dtype=torch.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    expected = (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert cka(x, y) == pytest.approx(expected.item())


def _state(model):
    return {"model": model.state_dict(), "attributes": {}}


def test_a_layer_has_converged_when_it_does_what_it_does_in_the_end(small):
    config = Config()
    start, other = build_model(config), build_model(config.with_training(seed=1))
    early = build_model(config)  # as in the end, but for the last hidden layer
    early.load_state_dict(other.state_dict())
    early.fc2.load_state_dict(start.fc2.state_dict())
    states = [_state(start), _state(early), _state(other)]
    found = first_converged(config, states, small.test.images[:64], 0.999)
    assert found[:3] == [2, 2, 2]
    assert found[3:] == [3, 3]
    assert first_converged(config, [_state(start)], small.test.images[:64], 0.999) == [0] * 5


def test_what_is_alike_is_taken_of_what_layers_put_out(small):
    model = build_model(Config())
    x = small.test.images[:10].float() / 255
    outputs = representations._outputs(model, x)
    assert [one.shape[1] for one in outputs] == [6 * 12 * 12, 256, 120, 84, 10]
    torch.testing.assert_close(outputs[-1], model.fc3(outputs[-2]))


@pytest.mark.parametrize("norm", ["none", "scratch"])
def test_percentiles_are_of_what_enters_the_last_sigmoids(norm, small, monkeypatch):
    networks = percentiles._Networks(norm, 2)
    with torch.no_grad():
        for one in networks.norms.parameters():
            one.fill_(2.0)  # gamma, and beta
    x = small.train.images[:40].float() / 255
    statistics = [one.clone() for one in networks.buffers()]
    normalized, entering = percentiles._percentiles(networks, x)
    assert all(map(torch.equal, networks.buffers(), statistics))
    seen = []
    sigmoid = torch.sigmoid
    monkeypatch.setattr("torch.sigmoid", lambda z: seen.append(z.detach()) or sigmoid(z))
    networks(x.flatten(1).expand(2, -1, -1))
    torch.testing.assert_close(entering[1], seen[-1].quantile(0.5, dim=1))
    expected = entering / 2 - 1 if norm == "scratch" else entering
    torch.testing.assert_close(normalized, expected)


def test_networks_side_by_side_train_as_each_does_alone(small):
    pair, alone = (percentiles._Networks("scratch", seeds) for seeds in (2, 1))
    for one, seeds in ((pair, 2), (alone, 1)):
        for x, labels in percentiles._batches(small.train, 7, seeds):  # into the second epoch
            percentiles._descend(one, x, labels)
    for both, one in zip(pair.weights, alone.weights, strict=True):
        torch.testing.assert_close(both[:1], one)
        assert not torch.equal(both[0], both[1])


def test_a_travel_is_from_the_lowest_median_to_the_highest():
    looks = torch.tensor([[-1.0, 0.0, 1.0], [2.0, 3.0, 4.0], [0.0, 2.0, 8.0]])[:, :, None]
    assert percentiles._travel(looks).item() == pytest.approx(3 / ((2 + 2 + 8) / 3))


def test_travels_are_repeatable_and_differ_by_norm(small):
    (none, other), (again, _), (bn, _) = (
        travels(norm, small.train, 6, 3, seeds=2) for norm in ("none", "none", "scratch")
    )
    assert none == again != other
    assert none.normalized == none.shifted > 0
    assert bn.normalized != bn.shifted
    assert [step for step, _ in bn.typical[1]] == [0, 3, 6]


def test_a_rate_of_one_is_the_usual_training(small):
    config = Config().with_training(batch_size=50)
    stepper = Stepper(config, small.train)
    for _ in range(stepper.steps_per_epoch):
        stepper.step()
    usual = float(stepper.correct_counts.sum()) / 300
    assert accuracy_of_an_epoch(config, small.train, 1.0) == usual


@pytest.mark.usefixtures("compilable")
@pytest.mark.parametrize("engine", [EAGER, COMPILED])
def test_normalized_weights_have_a_rate_of_their_own(small, monkeypatch, engine):
    config, kept = Config().with_training(batch_size=300), []

    class Kept(Stepper):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            kept.append(self.model)

    monkeypatch.setattr("bnrun.studies.weight_rates.Stepper", Kept)
    start = build_model(config).state_dict()
    for rate in (1.0, 4.0):
        accuracy_of_an_epoch(config, small.train, rate, engine)
    once, four = (
        {name: value - start[name] for name, value in model.state_dict().items()} for model in kept
    )
    torch.testing.assert_close(four["conv2.weight"], 4 * once["conv2.weight"], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(four["fc3.weight"], once["fc3.weight"])
    torch.testing.assert_close(four["norm2.weight"], once["norm2.weight"])
