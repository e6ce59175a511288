"""An audit leaves the network as it was, and observes what is there."""

import functools
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ill_networks import OwnNorm, conv_layers, images, trained
from torch import Tensor, nn

import bnrun
from bnrun.errors import BnrunError
from bnrun.events import Stage, drain
from bnrun.health.audit import audit_model
from bnrun.health.batches import to_batch
from bnrun.health.evidence import Evidence, NormPlace, Statistics, distance
from bnrun.health.finding import Finding
from bnrun.health.network import OnCpu
from bnrun.health.weights import load_weights, weight_decay_by_name


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 3),
    )  # fmt: skip


def batches(count: int = 3) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        images = torch.rand(6, 3, 4, 4, generator=generator)
        yield images, torch.arange(6) % 3


def evidence_of(model: nn.Module, data: Any) -> Evidence:
    return drain(audit_model(model, data))[0].evidence


def test_the_network_comes_back_as_it_was() -> None:
    model = network()
    model[1].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    handle = model[2].register_forward_hook(lambda *_: None)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state(), random.getstate(), [m.training for m in model.modules()]
    buffers = [id(one) for one in model.buffers()]
    bnrun.audit(model, batches)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [id(one) for one in model.buffers()] == buffers
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert [m.training for m in model.modules()] == before[2]
    assert bool((model[0].weight.grad == 1).all())
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == 1
    handle.remove()


def test_what_train_freezes_and_data_draws_comes_back_too() -> None:
    class Freezing(nn.Sequential):
        def train(self, mode: bool = True) -> "Freezing":
            self[1].requires_grad_(not mode)
            return super().train(mode)

    model = Freezing(*network())
    before = torch.get_rng_state(), random.getstate()
    images = torch.utils.data.DataLoader(list(torch.rand(6, 3, 4, 4)), batch_size=3, shuffle=True)
    torch.set_rng_state(before[0])
    model[1].requires_grad_(True)
    bnrun.audit(model, images)
    assert all(one.requires_grad for one in model.parameters())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


class ByFormula(OwnNorm):
    """A batch norm whose formula has the batch's statistics in evaluation, too, if `always`."""

    def __init__(self, num_features: int, *, always: bool) -> None:
        super().__init__(num_features)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        if not self.always:
            return super().forward(x)
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)


@pytest.mark.parametrize("always", [True, False])
def test_a_formula_that_predicts_with_batch_statistics_is_found_by_its_outputs(
    *, always: bool
) -> None:
    model = trained(conv_layers(functools.partial(ByFormula, always=always)))
    found = [one for one in bnrun.audit(model, images()).findings if one.severity == "error"]
    assert [(one.id, one.layers) for one in found] == (
        [("training-after-eval", ("norm1", "norm2"))] if always else []
    )


def test_batches_of_one_example_say_nothing_ill_of_norms_behind_one() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.BatchNorm1d(8))
    rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    for norm in (model[1], model[3]):
        norm.momentum = None
    with torch.no_grad():
        model[1](model[0](rows))
        model[1].eval()
        model[3](model[2](model[1](model[0](rows))))
    model.train()
    audit = bnrun.audit(model, list(rows.split(1)), most_batches=64)
    assert "one-value-per-channel" in {one.id for one in audit.findings}
    assert audit.verdict == "healthy"


def test_a_batch_without_examples_is_refused_by_its_number() -> None:
    empty = torch.rand(0, 3, 4, 4)
    with pytest.raises(BnrunError, match=r"batch 2 has no examples: its shape is \(0, 3, 4, 4\)"):
        bnrun.audit(network(), [torch.rand(6, 3, 4, 4), empty, torch.rand(6, 3, 4, 4)])


def test_statistics_are_merged_over_batches_and_seen_in_each_mode() -> None:
    model = network()
    evidence = evidence_of(model, batches)
    first = evidence.norms[0]
    with torch.no_grad():
        inputs = model[0](torch.cat([images for images, _ in batches()])).double()
    expected = inputs.transpose(0, 1).flatten(1)
    for mode in ("moving", "training", "batch", "population"):
        assert first.seen[mode].input.count == expected.shape[1]
        torch.testing.assert_close(first.seen[mode].input.mean, expected.mean(1), rtol=1e-5, atol=0)
        var = expected.var(1, correction=0)
        torch.testing.assert_close(first.seen[mode].input.var, var, rtol=1e-5, atol=0)
    assert (first.input_shape, first.calls) == ((6, 4, 2, 2), 1)
    assert evidence.norms[1].dropout_before == ("3",)
    assert [layer.name for layer in evidence.layers] == [str(at) for at in range(8)]
    assert evidence.layers[1].reads == ("0",)
    assert evidence.layers[5].reads == ("4",)
    assert evidence.layers[7].is_output
    assert (evidence.batches, evidence.ended, evidence.passes) == ((6, 6, 6), True, 5)


def test_population_statistics_predict_as_recalibrated_weights_do() -> None:
    audit, state = drain(audit_model(network(), batches, recalibrates=True))
    assert state is not None
    fixed = network()
    fixed.load_state_dict(state)
    fixed.eval()
    with torch.no_grad():
        right = sum(int((fixed(x).argmax(1) == y).sum()) for x, y in batches())
    assert audit.evidence.outputs.accuracies["population"] == right / 18


def test_progress_is_a_stage_for_each_batch_and_mode() -> None:
    stages: list[object] = []
    bnrun.audit(network(), batches, on_event=stages.append)
    names = [one.name for one in stages if isinstance(one, Stage)]
    assert names.count("predicting with moving statistics") == 3
    assert names[-1] == "judging"


def test_a_pass_that_raises_is_evidence_and_not_the_end() -> None:
    data = [torch.rand(4, 5), torch.rand(1, 5)]
    evidence = evidence_of(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), data)
    (raised,) = evidence.raised
    assert (raised.mode, raised.batch, raised.examples, raised.layer) == ("training", 1, 1, "1")
    assert "more than 1 value per channel" in raised.message


def test_a_network_that_raises_at_the_first_batch_cannot_be_audited() -> None:
    with pytest.raises(bnrun.NetworkError, match=r"first batch, of shape \(2, 7\): RuntimeError"):
        bnrun.audit(nn.Linear(5, 4), [torch.rand(2, 7)])


def test_without_data_an_audit_says_so() -> None:
    audit = bnrun.audit(network())
    assert audit.remarks[0].startswith("Without data, only what can be read from the network")
    assert audit.to_dict()["outputs"]["distances"] == {}


class Two(nn.Module):
    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return image + table


class Named(nn.Module):
    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return ids


class Learner(nn.Module):
    def forward(self, ids: Tensor, labels: Tensor | None = None) -> Tensor:
        return ids


class Detector(nn.Module):
    def forward(self, images: list[Tensor], targets: object = None) -> object:
        return images


X, CLASSES = torch.rand(4, 2), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("item", "model", "arguments", "keywords", "has_targets"),
    [
        (X, nn.Identity(), (X,), {}, False),
        ((X, CLASSES), nn.Identity(), (X,), {}, True),
        ([X, CLASSES], nn.Identity(), (X,), {}, True),
        ((X, X), nn.Identity(), (X,), {}, False),
        ((X, X), Two(), (X, X), {}, False),
        (((X, X), CLASSES), Two(), (X, X), {}, True),
        ({"ids": X}, Named(), (), {"ids": X}, False),
        (({"ids": X, "mask": X}, CLASSES), Named(), (), {"ids": X, "mask": X}, True),
        ({"pixels": X}, nn.Identity(), ({"pixels": X},), {}, False),
        ({"image": X, "label": CLASSES}, nn.Identity(), (X,), {}, True),
        ({"ids": X, "mask": X, "labels": CLASSES}, Named(), (), {"ids": X, "mask": X}, True),
        ({"ids": X, "labels": CLASSES}, Learner(), (), {"ids": X, "labels": CLASSES}, True),
        ({"image": X, "target": X}, nn.Identity(), ({"image": X, "target": X},), {}, False),
        ([X, X, X], nn.Identity(), ([X, X, X],), {}, False),
    ],
)
def test_what_data_yields_becomes_a_call(
    item: Any, model: nn.Module, arguments: Any, keywords: Any, has_targets: bool
) -> None:
    batch = to_batch(item, model)
    assert (len(batch.arguments), set(batch.keywords)) == (len(arguments), set(keywords))
    assert (batch.targets is not None, batch.examples) == (has_targets, 4)


@pytest.mark.parametrize("item", [(X, X, CLASSES), [X, X, CLASSES], (X, X, X)])
def test_more_values_than_the_network_takes_are_refused_with_what_is_understood(item: Any) -> None:
    message = (
        rf"received a {type(item).__name__} of 3 values, and the network's forward takes 2 by "
        r"position\..* yield \(a, b\), targets"
    )
    with pytest.raises(BnrunError, match=message):
        to_batch(item, Two())


def test_images_for_a_detector_stay_a_list() -> None:
    images = (torch.rand(3, 8, 8), torch.rand(3, 6, 9))
    batch = to_batch((images, ({"boxes": X}, {"boxes": X})), Detector())
    assert [one.shape for one in batch.arguments[0]] == [one.shape for one in images]
    assert (batch.examples, batch.targets) == (2, None)


def test_wrappers_come_off_and_what_does_not_fit_is_named(tmp_path: Any) -> None:
    source, model = network(), network()
    state = source.state_dict() | {"extra": torch.zeros(1)}
    del state["1.running_var"]
    state["7.bias"] = torch.zeros(9)
    wrapped = {f"module.{name}": value for name, value in state.items()}
    averaged = {f"module.{name}": value * 0 for name, value in state.items()}
    file = str(tmp_path / "w.pt")
    groups = [
        {"params": [0, 1, 2, 3, 4, 5, 6, 7], "weight_decay": 0.1},
        {"params": [8, 9], "weight_decay": 0},
    ]
    torch.save({"ema": averaged, "model": wrapped, "optimizer": {"param_groups": groups}}, file)
    loading = load_weights(model, file)
    assert (loading.unwrapped, loading.others) == (("model", "module."), ("ema",))
    assert loading.missing == ("1.running_var",)
    assert (loading.unexpected, loading.mismatched) == (("extra",), ("7.bias: (9,) for (3,)",))
    assert (loading.weight_decay["0.weight"], loading.weight_decay["7.weight"]) == (0.1, 0.0)
    assert torch.equal(model[0].weight, source[0].weight)


def test_weights_of_another_network_are_refused(tmp_path: Any) -> None:
    file = str(tmp_path / "w.pt")
    torch.save({"body.weight": torch.zeros(2)}, file)
    with pytest.raises(bnrun.NetworkError, match="none of the 1 tensors in .* belongs"):
        load_weights(network(), file)
    torch.save([1, 2], file)
    with pytest.raises(bnrun.NetworkError, match="has no weights"):
        load_weights(network(), file)


def test_an_optimizer_with_other_parameters_says_nothing_of_weight_decay() -> None:
    assert weight_decay_by_name(network(), [{"params": [0], "weight_decay": 1.0}]) == {}


def test_code_that_asks_for_cuda_gets_the_cpu() -> None:
    with OnCpu():
        model = nn.Linear(2, 2).cuda().to("cuda:0")
        x = torch.zeros(2, device="cuda") + torch.ones(2).to(torch.device("cuda"))
    assert (model.weight.device.type, x.device.type) == ("cpu", "cpu")


def test_a_distance_counts_deviations_of_the_population() -> None:
    def statistics(mean: float, var: float) -> Statistics:
        return Statistics(8, torch.tensor([mean]).double(), torch.tensor([var]).double())

    population = statistics(1.0, 4.0)
    assert float(distance(statistics(2.0, 4.0), population, 0.0)) == pytest.approx(0.5)
    half = distance(statistics(1.0, 4.0 / 2.718281828459045**2), population, 0.0)
    assert float(half) == pytest.approx(1.0)
    vectors = {"moving_mean": population.mean, "moving_var": population.var}
    assert float(distance(NormPlace("n", "batch", "x.Y", ("Y",), 1, **vectors), population)) == 0


def test_numbers_that_are_not_finite_are_null_in_json() -> None:
    finding = Finding("stale", "error", (), "", "", "", {"far": math.nan, "of": {"a": (1.0,)}})
    assert finding.to_dict()["numbers"] == {"far": None, "of": {"a": [1.0]}}
