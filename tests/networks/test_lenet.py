"""LeNet: its size, its initial weights, and the order of its layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from bnrun.config import schema
from bnrun.networks.lenet import ACTIVATIONS, NORM_PLACES, POOLS, LeNet
from bnrun.norms import NORMS

OWN_LAYERS = ["conv1", "conv2", "fc1", "fc2", "fc3"]


def own_weights(net):
    """The state of conv and linear layers, whatever the norm holds."""
    return {k: v for k, v in net.state_dict().items() if k.split(".")[0] in OWN_LAYERS}


class Drawing(nn.Module):
    """A user's norm that draws random numbers when it is built."""

    def __init__(self, num_features):
        super().__init__()
        self.noise = nn.Parameter(torch.randn(num_features))
        torch.manual_seed(int(torch.randint(1000, ())))

    def forward(self, x):
        return x


FACTORIES = {**NORMS, "drawing": lambda num_features, num_dims: Drawing(num_features)}


@pytest.mark.parametrize(
    ("norm", "count"),
    [("scratch", 44_878), ("builtin", 44_878), ("textbook", 44_878), ("none", 44_426)],
)
def test_the_number_of_parameters(norm, count):
    assert sum(p.numel() for p in LeNet(NORMS[norm]).parameters()) == count


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_output_is_ten_logits_an_image(norm, pool, activation):
    net = LeNet(NORMS[norm], pool=pool, activation=activation)
    logits = net(torch.rand(5, 1, 28, 28))
    assert logits.shape == (5, 10)
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_the_pools_activations_and_places():
    assert list(POOLS) == ["avg", "max"]
    assert list(ACTIVATIONS) == ["sigmoid", "relu"]
    assert NORM_PLACES == schema.NORM_PLACES


def test_the_factory_is_asked_once_for_each_place_with_width_and_rank():
    asked = []

    def factory(num_features, num_dims):
        asked.append((num_features, num_dims))
        return nn.Identity()

    LeNet(factory)
    assert asked == [(6, 4), (16, 4), (120, 2), (84, 2)]


def test_a_place_without_a_norm_has_an_identity_and_no_parameters():
    net = LeNet(NORMS["scratch"], norm_places=(1, 4))
    without = [n for n in NORM_PLACES if type(getattr(net, f"norm{n}")) is nn.Identity]
    assert without == [2, 3]
    with_norm = {key.split(".")[0] for key in net.state_dict() if key.startswith("norm")}
    assert with_norm == {"norm1", "norm4"}


@pytest.mark.parametrize("norm", FACTORIES)
def test_the_same_seed_gives_the_same_weights_whatever_the_norm(norm):
    expected = own_weights(LeNet(NORMS["none"], seed=3))
    torch.manual_seed(99)  # the global generator is not used
    got = own_weights(LeNet(FACTORIES[norm], seed=3))
    assert list(got) == list(expected)
    for key, value in expected.items():
        assert torch.equal(got[key], value), key


@pytest.mark.parametrize(
    "other",
    [
        {"pool": "max"},
        {"activation": "relu"},
        {"norm_places": [2], "norm_position": "after", "dropout": 0.5},
    ],
    ids=str,
)
def test_the_same_seed_gives_the_same_weights_whatever_surrounds_them(other):
    expected = own_weights(LeNet(NORMS["none"], seed=3))
    for key, value in own_weights(LeNet(NORMS["none"], seed=3, **other)).items():
        assert torch.equal(value, expected[key]), key


def test_different_seeds_give_different_weights():
    one, two = (own_weights(LeNet(NORMS["none"], seed=seed)) for seed in (0, 1))
    for key in one:
        assert not torch.equal(one[key], two[key]), key


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        ("conv1", 1 * 25, 6 * 25),
        ("conv2", 6 * 25, 16 * 25),
        ("fc1", 256, 120),
        ("fc2", 120, 84),
        ("fc3", 84, 10),
    ],
)
def test_weights_fill_xaviers_range(layer, fan_in, fan_out):
    weight = getattr(LeNet(NORMS["none"]), layer).weight.detach()
    bound = (6 / (fan_in + fan_out)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.max() > 0.9 * bound
    assert weight.min() < -0.9 * bound
    uniform = bound / 3**0.5  # the standard deviation of a uniform distribution
    assert weight.std() == pytest.approx(uniform, rel=0.15)


def test_a_weight_scale_multiplies_the_initial_weights_and_no_bias():
    one, three = (own_weights(LeNet(NORMS["none"], weight_scale=scale)) for scale in (1.0, 3.0))
    for key, value in one.items():
        assert_close(three[key], value * 3 if key.endswith("weight") else value)


def test_a_weight_scale_beyond_float32_makes_weights_that_are_not_finite():
    assert LeNet(NORMS["none"], weight_scale=1e300).fc1.weight.isinf().all()


def test_dropout_is_before_the_second_and_third_linear_layer_in_training_alone():
    net = LeNet(NORMS["scratch"], dropout=0.25)
    zeros = {}

    def count(layer, inputs):
        zeros[layer] = float((inputs[0] == 0).double().mean())

    for layer in (net.conv2, net.fc1, net.fc2, net.fc3):  # a sigmoid puts out no 0
        layer.register_forward_pre_hook(count)
    torch.manual_seed(0)
    x = torch.rand(64, 1, 28, 28)
    net(x)
    assert [zeros[layer] for layer in (net.conv2, net.fc1)] == [0, 0]
    assert [zeros[layer] for layer in (net.fc2, net.fc3)] == pytest.approx([0.25, 0.25], abs=0.02)
    net.eval()(x)
    assert set(zeros.values()) == {0}


def recomputed(state, x, pool, activation, training, norm_position="before"):
    """LeNet written out with torch's functions, from its state_dict."""
    pool = {"avg": F.avg_pool2d, "max": F.max_pool2d}[pool]
    act = {"sigmoid": torch.sigmoid, "relu": torch.relu}[activation]

    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean.clone(), var.clone(), weight, bias, training=training)

    def both(x, name):
        return act(norm(x, name)) if norm_position == "before" else norm(act(x), name)

    x = F.conv2d(x, state["conv1.weight"], state["conv1.bias"])
    x = pool(both(x, "norm1"), 2)
    x = F.conv2d(x, state["conv2.weight"], state["conv2.bias"])
    x = pool(both(x, "norm2"), 2)
    x = x.reshape(len(x), 256)
    x = both(F.linear(x, state["fc1.weight"], state["fc1.bias"]), "norm3")
    x = both(F.linear(x, state["fc2.weight"], state["fc2.bias"]), "norm4")
    return F.linear(x, state["fc3.weight"], state["fc3.bias"])


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("norm", ["scratch", "builtin"])
@pytest.mark.parametrize("norm_position", ["before", "after"])
def test_each_norm_stands_before_or_after_its_activation_and_before_the_pool(
    norm_position, norm, pool, activation, training
):
    torch.manual_seed(0)
    net = LeNet(NORMS[norm], pool=pool, activation=activation, norm_position=norm_position)
    net = net.double().train(training)
    for key, value in net.state_dict().items():
        if key.startswith("norm") and value.is_floating_point():
            value.uniform_(0.5, 2)
    x = torch.rand(5, 1, 28, 28, dtype=torch.float64)
    expected = recomputed(net.state_dict(), x, pool, activation, training, norm_position)
    assert_close(net(x), expected, rtol=0, atol=1e-10)
