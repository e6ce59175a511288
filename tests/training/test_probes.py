"""Probes: what each instrument measures, and that a training does not notice them."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnrun.config import Config
from bnrun.config.schema import PROBES
from bnrun.errors import ConfigError
from bnrun.events import CheckpointReady, EpochEnded, Probed
from bnrun.networks.lenet import LeNet
from bnrun.norms import NORMS
from bnrun.norms.population import MergedStatistics
from bnrun.training import train
from bnrun.training.engine import EAGER, fast_on_cpu
from bnrun.training.model import build_model
from bnrun.training.probes.activations import Activations
from bnrun.training.probes.gradients import Gradients
from bnrun.training.probes.landscape import Landscape
from bnrun.training.probes.probes import INSTRUMENTS, Probes
from bnrun.training.probes.shadow import TRACKERS, Shadow, by_norm
from bnrun.training.probes.shift import Shift
from bnrun.training.probes.sight import Sight
from bnrun.training.probes.updates import Updates

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """Let probes look at a small batch."""
    monkeypatch.setattr("bnrun.training.probes.probes.IMAGES", 16)


def _config(norm="scratch", **training):
    values = {"epochs": 1, "batch_size": 100, "engine": "eager", "probe_every": 2} | training
    return Config(model={"norm": norm, "dropout": 0.2}, training=values)


def _events(config, small, checkpoint=None):
    return list(train(config, small, CPU, checkpoint))


def _state(events):
    return [event for event in events if isinstance(event, CheckpointReady)][-1].state


@pytest.fixture
def sight():
    """A network with norms in training mode, and a random batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 1, 28, 28, generator=generator)
    return Sight(LeNet(NORMS["scratch"]), images, torch.arange(16) % 10, lr=0.5)


def test_every_probe_of_the_config_has_an_instrument():
    assert tuple(INSTRUMENTS) == PROBES


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.usefixtures("compilable")
def test_a_training_ends_at_the_same_bits_with_every_probe(engine, small):
    plain = _state(_events(_config(engine=engine), small))
    events = _events(_config(engine=engine, probe=PROBES), small)
    watched = _state(events)
    for name, value in plain["model"].items():
        assert torch.equal(watched["model"][name], value), name
    assert torch.equal(plain["rng"]["cpu"], watched["rng"]["cpu"])
    steps = [event.step for event in events if isinstance(event, Probed)]
    assert sorted(set(steps)) == [0, 2, 3]
    assert len(steps) == 3 * len(PROBES)


def test_probes_see_by_kernels_what_they_see_eagerly(small):
    config = Config(training={"probe": ["landscape", "shift"], "probe_every": 1})
    looks = []
    for engine in (EAGER, fast_on_cpu()):
        probes = Probes(config, build_model(config), small.train, 1, engine)
        looks.append({one.probe: one.values for one in probes.look(0, 0.5)})
    for probe in ("landscape", "shift"):
        for layer, values in looks[0][probe].items():
            assert looks[1][probe][layer] == pytest.approx(values, rel=1e-3, abs=1e-5)


def test_a_training_that_continues_sees_what_it_would_have_seen(small):
    config = _config(epochs=2, probe=("shadow", "updates"), probe_every=2)
    whole = _events(config, small)
    first = next(one for one in whole if isinstance(one, CheckpointReady)).state
    at = next(number for number, one in enumerate(whole) if isinstance(one, EpochEnded))
    later = [one for one in whole[at:] if isinstance(one, Probed)]
    rest = [one for one in _events(config, small, first) if isinstance(one, Probed)]
    assert rest == later
    assert [one.step for one in rest if one.probe == "shadow"] == [4, 6]


def test_activations_are_those_before_the_nonlinearity(sight):
    found = Activations(sight.model).look(sight)["fc2"]
    model = sight.model
    x = model.act_pool(model.norm1(model.conv1(sight.images)))
    x = model.act_pool(model.norm2(model.conv2(x))).flatten(1)
    z = model.norm4(model.fc2(model.act(model.norm3(model.fc1(x))))).detach()
    assert found["mean"] == pytest.approx(z.mean().item(), abs=1e-5)
    assert found["deviation"] == pytest.approx(z.std(correction=0).item(), rel=1e-5)
    assert found["p50"] == pytest.approx(z.median().item(), abs=1e-2)
    assert found["p15"] < found["p50"] < found["p85"]
    assert found["off"] == 0
    with torch.no_grad():
        model.norm4.weight.fill_(100.0)
    assert Activations(model).look(sight)["fc2"]["off"] > 0.9


def test_relu_is_off_where_it_is_not_positive(sight):
    model = LeNet(NORMS["scratch"], activation="relu", norm_position="after")
    found = Activations(model).look(dataclasses.replace(sight, model=model))
    z = model.conv1(sight.images)
    assert found["conv1"]["off"] == pytest.approx((z <= 0).double().mean().item())


def test_gradients_are_those_of_backward(sight):
    found = Gradients(sight.model).look(sight)
    model, seen = sight.model, []

    def keep(layer, inputs, output):
        output.retain_grad()
        seen.append(output)

    model.norm4.register_forward_hook(keep)
    F.cross_entropy(model(sight.images), sight.labels).backward()
    assert found["fc2"]["rms"] == pytest.approx(seen[0].grad.square().mean().sqrt().item())
    weight = model.conv2.weight
    assert found["conv2"]["ratio"] == pytest.approx((weight.grad.norm() / weight.norm()).item())
    assert list(found) == ["conv1", "conv2", "fc1", "fc2"]


def test_updates_are_relative_to_the_weights(sight):
    model = sight.model
    instrument = Updates(model)
    assert instrument.look(sight)["fc3"] == {"update": 0, "distance": 0}
    with torch.no_grad():
        model.fc3.weight.mul_(2)
        instrument.before_step(model)
        model.fc3.weight.mul_(1.5)
    assert instrument.look(sight)["fc3"] == pytest.approx({"update": 1 / 3, "distance": 2.0})


def _loss(model, sight):
    return F.cross_entropy(model(sight.images), sight.labels)


def test_the_landscape_is_the_loss_along_the_gradient(sight):
    found = Landscape(sight.model).look(sight)["network"]
    model = sight.model
    parameters = list(model.parameters())
    loss = _loss(model, sight)
    start = torch.autograd.grad(loss, parameters)
    losses, changes, surprises = [loss.item()], [], []
    square = sum(one.square().sum() for one in start).item()
    before = [one.detach().clone() for one in parameters]
    for at in range(8):
        step = 0.5 * 0.5 * 8 ** (at / 7)
        with torch.no_grad():
            for one, value, slope in zip(parameters, before, start, strict=True):
                one.copy_(value - step * slope)
        there = _loss(model, sight)
        moved = torch.autograd.grad(there, parameters)
        change = sum((a - b).square().sum() for a, b in zip(moved, start, strict=True)).sqrt()
        losses.append(there.item())
        changes.append(change.item())
        promised = step * square
        surprises.append(abs(losses[0] - losses[-1] - promised) / promised)
    assert found["range"] == pytest.approx(max(losses) - min(losses), rel=1e-3)
    assert found["highest"] - found["lowest"] == found["range"]
    assert found["lowest"] == pytest.approx(min(losses), rel=1e-4)
    assert found["surprise"] == pytest.approx(max(surprises), rel=1e-3)
    assert found["change"] == pytest.approx(max(changes), rel=1e-3)
    assert -1 <= found["cosine"] <= 1


def test_shift_is_the_change_of_a_gradient_after_the_steps_of_the_layers_before(sight):
    found = Shift(sight.model).look(sight)
    model = sight.model
    assert list(found) == ["conv2", "fc1", "fc2", "fc3"]
    gradients = torch.autograd.grad(_loss(model, sight), list(model.parameters()))
    with torch.no_grad():
        for (name, one), gradient in zip(model.named_parameters(), gradients, strict=True):
            if name.startswith(("conv1", "norm1", "conv2", "norm2")):
                one.sub_(0.5 * gradient)
    names = [name for name, _ in model.named_parameters()]
    now = gradients[names.index("fc1.weight")]
    (after,) = torch.autograd.grad(_loss(model, sight), [model.fc1.weight])
    cosine = F.cosine_similarity(now.flatten(), after.flatten(), dim=0).item()
    assert found["fc1"]["cosine"] == pytest.approx(cosine, abs=1e-4)
    assert found["fc1"]["absolute"] == pytest.approx((after - now).norm().item(), rel=1e-3)


def test_shadows_are_the_averages_that_other_momenta_would_keep(small):
    state = _state(_events(_config(probe=("shadow",)), small))
    paths = ["norm1", "norm2", "norm3", "norm4"]
    for norm, tracker in (("scratch(momentum=0.5)", "0.5"), ("builtin(momentum=null)", "1/k")):
        own = _state(_events(_config(norm), small))["model"]
        mean, var = by_norm(state["probes"]["shadow"], paths, tracker)["norm2"]
        torch.testing.assert_close(mean, own["norm2.running_mean"], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(var, own["norm2.running_var"], rtol=1e-3, atol=1e-5)


class _Walk(nn.Module):
    """A network of one norm, whose batches are given."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(400)


@pytest.mark.parametrize(("walk", "noise"), [(0.3, 1.0), (1.0, 0.1)])
def test_the_kalman_filter_finds_its_gain(walk, noise):
    model, generator = _Walk(), torch.Generator().manual_seed(0)
    shadow, level = Shadow(model), torch.zeros(400)
    with torch.no_grad():
        for _ in range(300):
            level += walk * torch.randn(400, generator=generator)
            batch = level + noise * torch.randn(400, generator=generator)
            model.norm.running_mean.lerp_(batch, 0.1)
            shadow.after_step(model)
    ratio = (walk / noise) ** 2
    gain = ((ratio * (ratio + 4)) ** 0.5 - ratio) / 2
    assert shadow._kalman_gains()[0].item() == pytest.approx(gain, rel=0.25)
    errors = {name: (shadow.statistics(name)["norm"][0] - level).norm() for name in TRACKERS}
    assert errors["kalman"] < min(errors["0.001"], errors["1/k"])


@pytest.mark.parametrize("values", [{"norm": "none"}, {"norm": "layer"}, {"norm_batch": 5}])
def test_shadows_need_moving_statistics_of_whole_batches(values, small):
    with pytest.raises(ConfigError, match="probe shadow needs norms with moving statistics"):
        _events(_config(probe=("shadow",), **values), small)


def test_a_merged_statistic_is_what_errors_are_taken_from(sight):
    shadow = Shadow(sight.model)
    merged = MergedStatistics()
    merged.add(sight.model.conv1(sight.images).detach())
    expected = (merged.mean.square() / merged.var).mean().sqrt().item()  # the shadows are at 0
    assert shadow.look(sight)["norm1"]["0.1"] == pytest.approx(expected, rel=1e-4)
