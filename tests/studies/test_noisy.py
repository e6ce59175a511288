"""Study `noisy`: how the means of channels are followed, and what is made of the losses."""

import pytest
import torch

from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded, drain
from bnrun.studies import noisy, stability
from bnrun.studies.study import plan, run_study
from bnrun.training.stepper import Stepper
from bnrun.training_summary import Summary

DATA = DataUsed("fashion-mnist", "a folder", True, 60_000, 0, 10_000)


def _config(norm):
    model = Config().model.model_copy(update={"norm": norm})
    return Config(model=model).with_training(batch_size=100)


def test_a_change_is_that_of_a_layers_own_channels():
    first, second = (
        [torch.tensor([0.0, 1.0]), torch.tensor([5.0])],
        [torch.tensor([2.0, 1.0]), torch.tensor([2.0])],
    )
    assert stability._change([*first, *second], layers=2) == pytest.approx((2 + 0 + 3) / 3)


def test_the_means_are_those_of_what_enters_the_nonlinearities(small):
    stepper, seen = Stepper(_config("none"), small.train), []

    def keep(layer, inputs):
        if layer is not stepper.model.act or inputs[0].dim() == 2:  # it also activates pools
            seen.append(inputs[0].detach())

    for layer in (stepper.model.act, stepper.model.act_pool):
        layer.register_forward_pre_hook(keep)
    for _ in range(3):
        stepper.step()
    changes, layers = [], len(seen) // 3
    for sooner, later in zip(seen, seen[layers:], strict=False):
        over = [0, *range(2, sooner.dim())]
        changes += (later.mean(over) - sooner.mean(over)).abs().tolist()
    expected = sum(changes) / len(changes)
    assert stability.mean_change(_config("none"), small.train, steps=3) == pytest.approx(expected)


def test_noise_makes_the_means_move(small):
    still, moving = (
        stability.mean_change(_config(norm), small.train, steps=4) for norm in ("none", "noisy")
    )
    assert moving > 0.25 > still  # 1/3 is the mean distance of two numbers from U(-.5, .5)


def test_following_the_means_does_not_change_a_training(small):
    expected = [float(Stepper(_config("noisy"), small.train).step()[0]) for _ in range(2)]
    stability.mean_change(_config("noisy"), small.train, steps=2)
    assert [float(Stepper(_config("noisy"), small.train).step()[0]) for _ in range(2)] == expected


LOSSES = {"none-sigmoid": 1.0, "scratch-sigmoid": 0.5, "noisy-sigmoid": 0.6}


class _Laboratory:
    """Trains nothing: noise alone does not learn, and diverges with ReLU."""

    def train(self, trials):
        yield from ()
        return {one.name: self._summary(one) for one in trials}

    def _summary(self, one):
        epoch = EpochEnded(1, LOSSES.get(one.arm, 2.3), 0.5, 0.5, None, 1.0, 1.0, 1.0)
        status = "diverged" if one.arm == "noise-relu" else "completed"
        return Summary(one.config.to_dict(), "norm", "cpu", "a machine", 0, DATA, (epoch,), status)


def test_every_part_gets_its_number(monkeypatch):
    def instability(budget, laboratory):
        yield from ()
        return [0.3, 0.4]

    monkeypatch.setattr(noisy, "_instability", instability)
    result = drain(run_study(plan(noisy.STUDY, "quick", "a machine"), _Laboratory()))
    assert dict(result.evidence["N1"].values) == {
        "less stable than none": [0.3, 0.4],
        "closes half of the gap or more": pytest.approx([0.8, 0.8]),
        "noise without batch norm: no learning, sigmoid": [2.3, 2.3],
        "noise without batch norm: no learning, relu": [10.0, 10.0],
    }
