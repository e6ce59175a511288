"""The plain deep network: its shape, its weights, its residual sums."""

import pytest
import torch
from torch import nn

from bnrun.networks.mlp import ACTIVATIONS, MLP
from bnrun.norms import NORMS


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_its_formula(activation, residual):
    model = MLP(NORMS["none"], depth=3, width=5, activation=activation, residual=residual, inputs=7)
    act, x = ACTIVATIONS[activation](), torch.randn(4, 7)
    expected = x
    for at, block in enumerate(model.blocks):
        y = act(expected @ block.linear.weight.T)
        expected = expected + y if residual and at > 0 else y
    torch.testing.assert_close(model(x), expected @ model.last.weight.T)


@pytest.mark.parametrize(("initialization", "variance"), [("he", 2 / 300), ("xavier", 2 / 500)])
def test_its_weights_have_the_named_variance(initialization, variance):
    model = MLP(NORMS["none"], depth=1, width=200, inputs=300, initialization=initialization)
    weights = model.blocks[0].linear.weight
    assert weights.var().item() == pytest.approx(variance, rel=0.02)
    assert abs(weights.mean().item()) < 0.01 * variance**0.5


def test_its_weights_depend_on_the_seed_and_not_on_the_norm():
    def weights(norm, seed):
        torch.manual_seed(17)
        model = MLP(NORMS[norm], depth=2, width=4, inputs=4, seed=seed)
        return torch.cat(
            [
                p.flatten()
                for m in model.modules()
                if isinstance(m, nn.Linear)
                for p in m.parameters()
            ]
        )

    assert torch.equal(weights("scratch", 1), weights("none", 1))
    assert not torch.equal(weights("scratch", 1), weights("scratch", 2))


def test_a_norm_stands_before_each_nonlinearity():
    model = MLP(NORMS["scratch"], depth=2, width=6, inputs=4).double()
    outputs = []
    for block in model.blocks:
        block.act.register_forward_pre_hook(lambda layer, inputs: outputs.append(inputs[0]))
    model(torch.randn(50, 4, dtype=torch.float64))
    for z in outputs:
        torch.testing.assert_close(z.mean(0), torch.zeros(6).double())
        torch.testing.assert_close(
            z.var(0, unbiased=False), torch.ones(6).double(), rtol=0.01, atol=0
        )
