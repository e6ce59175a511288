"""Population and batch statistics are exact, and looking at them changes nothing."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from bnrun.networks.lenet import LeNet
from bnrun.norms import NORMS
from bnrun.norms.introspection import MovingStatistics, channel_values, named_values
from bnrun.norms.population import (
    MergedStatistics,
    batch_statistics,
    predicting,
    preserving,
    unmoved_norms,
    use_population,
)

IMAGES = 120


class Own(nn.Module):
    """A user's class: moving statistics as parameters, its own names, counting as it predicts."""

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        shape = (1, num_features, *[1] * (num_dims - 2))
        self.scale = nn.Parameter(torch.ones(shape))
        self.shift = nn.Parameter(torch.zeros(shape))
        self.moving_mean = nn.Parameter(torch.zeros(shape), requires_grad=False)
        self.moving_variance = nn.Parameter(torch.ones(shape), requires_grad=False)
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += len(x)
        x_hat = (x - self.moving_mean) / (self.moving_variance + 1e-5).sqrt()
        return self.scale * x_hat + self.shift


class Wraps(nn.Module):
    """A norm deeper down, called by keyword."""

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        self.bn = NORMS["builtin"](num_features, num_dims)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(input=x)
        return y


FACTORIES: dict[str, Callable[[int, int], nn.Module]] = {
    "scratch": NORMS["scratch"],
    "builtin": NORMS["builtin"],
    "textbook": NORMS["textbook"],
    "own": Own,
    "wrapped": Wraps,
}
NORM = pytest.mark.parametrize("norm", FACTORIES)


def _random_lenet(norm: str, seed: int = 0) -> LeNet:
    """A network whose norms hold random values everywhere."""
    torch.manual_seed(seed)
    model = LeNet(FACTORIES[norm])
    for module in model.modules():
        found = (
            channel_values(named_values(module))
            if not isinstance(module, nn.Conv2d | nn.Linear)
            else None
        )
        if found is not None:
            for vector in (found.gamma, found.beta, found.moving_mean, found.moving_var):
                assert vector is not None
                with torch.no_grad():
                    vector.uniform_(0.5, 2.0)
    return model


def _images(count: int = IMAGES) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(9))


def _cut(images: Tensor, size: int) -> Callable[[], Iterator[Tensor]]:
    return lambda: iter(images.split(size))


def _oracle(model: LeNet, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and biased variance before each norm: float64, all images at once, formulas written."""
    state = {key: value.double() for key, value in model.state_dict().items()}

    def norm(x: Tensor, place: str) -> Tensor:
        dims = [0, *range(2, x.dim())]
        mean = x.mean(dims, keepdim=True)
        var = (x - mean).square().mean(dims, keepdim=True)
        statistics.append((mean.flatten(), var.flatten()))
        module = model.get_submodule(place)
        found = channel_values(named_values(getattr(module, "bn", module)))
        assert found is not None
        assert found.gamma is not None
        assert found.beta is not None
        gamma, beta = (vector.double().reshape(mean.shape) for vector in (found.gamma, found.beta))
        return torch.sigmoid(gamma * (x - mean) / (var + 1e-5).sqrt() + beta)

    def conv(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    statistics: list[tuple[Tensor, Tensor]] = []
    x = F.avg_pool2d(norm(conv(images.double(), "conv1"), "norm1"), 2)
    x = F.avg_pool2d(norm(conv(x, "conv2"), "norm2"), 2).flatten(1)
    x = norm(linear(x, "fc1"), "norm3")
    norm(linear(x, "fc2"), "norm4")
    return statistics


def _moving_tensors(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [moving.tensors() for moving in MovingStatistics.find(model).values()]


def _everything(model: nn.Module) -> dict[str, Any]:
    """All that a model is, to compare by bits and by identity."""
    named = {path: named_values(module) for path, module in model.named_modules()}
    return {
        "ids": {(path, name): id(value) for path, v in named.items() for name, value in v.items()},
        "state": {key: value.clone() for key, value in model.state_dict().items()},
        "plain": {path: {**copy.deepcopy(values)} for path, values in named.items()},
        "modes": [module.training for module in model.modules()],
        "grad": torch.is_grad_enabled(),
        "needs grad": [p.requires_grad for p in model.parameters()],
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
        "rng": torch.get_rng_state(),
    }


def _assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _assert_same(a[key], b[key])
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


# ---- merging


@pytest.mark.parametrize("sizes", [[1000], [1, 999], [500, 500], [7, 300, 1, 692], [999, 0, 1]])
@pytest.mark.parametrize("tail", [(), (3,), (2, 4)])
def test_merged_batches_have_the_statistics_of_all_values(
    sizes: list[int], tail: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(1)
    x = 1e4 + 1e-2 * torch.randn(1000, 3, *tail, generator=generator, dtype=torch.float64)
    merged = MergedStatistics()
    for batch in x.split(sizes):
        merged.add(batch)
    var, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
    assert merged.count == x.numel() // 3
    assert_close(merged.mean, mean, rtol=1e-14, atol=0)
    assert_close(merged.var, var, rtol=1e-7, atol=0)  # of 1e-4: E[x^2] - E[x]^2 would lose it all


def test_merging_half_precision_happens_in_double() -> None:
    x = torch.randn(64, 3).to(torch.bfloat16)
    merged = MergedStatistics()
    merged.add(x)
    assert_close(merged.mean, x.double().mean(0), rtol=1e-12, atol=1e-14)


# ---- population statistics


@NORM
def test_population_statistics_are_those_of_all_images_in_float64(norm: str) -> None:
    model, images = _random_lenet(norm), _images()
    use_population(model, _cut(images, 50))
    expected = _oracle(model, images)
    assert len(_moving_tensors(model)) == len(expected) == 4
    for moving, exact in zip(_moving_tensors(model), expected, strict=True):
        for ours, theirs in zip(moving, exact, strict=True):
            assert ours.dtype == torch.float32
            assert_close(ours.double().flatten(), theirs, rtol=2e-5, atol=2e-6)


def test_in_float64_they_agree_to_its_rounding() -> None:
    model, images = _random_lenet("scratch").double(), _images().double()
    use_population(model, _cut(images, 50))
    for moving, exact in zip(_moving_tensors(model), _oracle(model, images), strict=True):
        assert_close(moving, exact, rtol=1e-12, atol=1e-13)


@NORM
def test_how_images_are_cut_into_batches_does_not_matter(norm: str) -> None:
    results = []
    for size in (IMAGES, 50, 33):
        model = _random_lenet(norm)
        use_population(model, _cut(_images(), size))
        results.append(_moving_tensors(model))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_close(a, b, rtol=2e-5, atol=2e-6)


@NORM
def test_population_statistics_do_not_depend_on_those_before(norm: str) -> None:
    model = _random_lenet(norm)
    use_population(model, _cut(_images(), 50))
    first = [tensor.clone() for pair in _moving_tensors(model) for tensor in pair]
    use_population(model, _cut(_images(), 50))
    again = [tensor for pair in _moving_tensors(model) for tensor in pair]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_norm_that_is_never_reached_keeps_what_it_has() -> None:
    model = _random_lenet("builtin")
    model.spare = nn.BatchNorm1d(3)
    use_population(model, _cut(_images(50), 50))
    mean, var = _moving_tensors(model)[-1]
    assert mean.tolist() == [0.0] * 3
    assert var.tolist() == [1.0] * 3


def test_a_wrapper_that_catches_every_exception_does_not_catch_the_stop() -> None:
    class Catches(Wraps):
        def forward(self, x: Tensor) -> Tensor:
            try:
                return super().forward(x)
            except Exception as error:
                raise AssertionError("caught") from error

    torch.manual_seed(0)
    model = LeNet(Catches)
    use_population(model, _cut(_images(50), 50))
    assert_close(
        _moving_tensors(model)[0][0].double(), _oracle(model, _images(50))[0][0], rtol=1e-4, atol=0
    )


# ---- batch statistics


def test_batch_statistics_predict_as_the_builtin_layer_trains() -> None:
    model, twin = _random_lenet("builtin"), _random_lenet("builtin")
    for images in _images().split(50):  # 50, 50 and 20
        with batch_statistics(model), predicting(model):
            ours = model(images)
        with torch.no_grad():
            theirs = twin.train()(images)
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@NORM
def test_with_one_batch_of_all_images_batch_and_population_statistics_are_the_same(
    norm: str,
) -> None:
    model, images = _random_lenet(norm), _images(200)
    with batch_statistics(model), predicting(model):
        by_batch = model(images)
    use_population(model, lambda: [images])
    with predicting(model):
        assert_close(model(images), by_batch, rtol=1e-5, atol=1e-6)


# ---- what is left behind


def _look(model: LeNet, kind: str) -> None:
    if kind == "population":
        with preserving(model):
            use_population(model, _cut(_images(60), 40))
            with predicting(model):
                model(_images(10))
    else:
        with batch_statistics(model), predicting(model):
            model(_images(10))


@NORM
@pytest.mark.parametrize("kind", ["population", "batch"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_as_it_was_afterwards(norm: str, kind: str, training: bool) -> None:
    model = _random_lenet(norm).train(training)
    model.norm2.train(not training)  # a part in a mode of its own, as one that is frozen
    before = _everything(model)
    _look(model, kind)
    _assert_same(_everything(model), before)


@pytest.mark.parametrize("kind", ["population", "batch"])
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_the_model_is_restored_when_a_norm_raises(kind: str, calls: int) -> None:
    model = _random_lenet("own")
    before = _everything(model)

    def fail(*_: Any) -> None:
        nonlocal calls
        calls -= 1
        if calls == 0:
            raise RuntimeError("tired")

    handle = model.norm3.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="tired"):
        while True:
            _look(model, kind)
    handle.remove()
    _assert_same(_everything(model), before)


def test_a_graph_that_a_plain_attribute_holds_stays_whole() -> None:
    model = _random_lenet("textbook")
    leaf = torch.ones(6, requires_grad=True)
    moved: Any = leaf.reshape(1, 6, 1, 1).square()  # a learner who forgot to detach
    model.norm1.moving_mean = moved
    with torch.no_grad():
        _look(model, "population")
    assert model.norm1.moving_mean is moved
    moved.square().sum().backward()
    assert leaf.grad is not None


class Chunked(nn.Module):
    """A ghost norm: the layer inside sees a batch in four parts, one after the other."""

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        self.bn = NORMS["builtin"](num_features, num_dims)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.bn(part) for part in x.chunk(4)])


def test_a_norm_that_is_called_several_times_is_given_all_of_its_input() -> None:
    torch.manual_seed(0)
    model, images = LeNet(Chunked), _images()
    use_population(model, _cut(images, 64))
    with torch.no_grad():
        seen = model.conv1(images).double()
    mean, var = MovingStatistics.find(model)["norm1.bn"].tensors()
    assert_close(mean.double(), seen.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    assert_close(var.double(), seen.var((0, 2, 3), correction=0), rtol=1e-6, atol=1e-6)


class Remembers(nn.Module):
    """Keeps what it has seen in a dict and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = {"calls": 1}
        self.log = [1]

    def forward(self, x: Tensor) -> Tensor:
        self.counts["calls"] += 1
        self.counts["new"] = 1
        self.log.append(2)
        return x


def test_the_contents_of_lists_and_dicts_are_restored() -> None:
    model = Remembers()
    counts, log = model.counts, model.log
    with preserving(model):
        model(torch.zeros(1))
    assert model.counts is counts
    assert model.log is log
    assert (counts, log) == ({"calls": 1}, [1])


class Hides(nn.Module):
    """Keeps a module, tensors and a graph in lists, and moves them while it predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.tied = [self.linear]
        self.means = {"moving": [torch.zeros(2)]}
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tied[0](x)
        self.means["moving"][0] += 1
        self.outputs.append(y)
        return y


def test_modules_and_tensors_in_lists_stay_themselves() -> None:
    model = Hides()
    mean = model.means["moving"][0]
    output = model(torch.zeros(3, 2))
    with preserving(model):
        model(torch.zeros(3, 2))
    assert model.tied[0] is model.linear
    assert model.means["moving"][0] is mean
    assert mean.tolist() == [1, 1]
    assert len(model.outputs) == 1
    assert model.outputs[0] is output


@NORM
def test_an_unmoved_norm_has_mean_0_and_variance_1(norm: str) -> None:
    torch.manual_seed(0)
    model = LeNet(FACTORIES[norm])
    every = list(MovingStatistics.find(model))
    assert unmoved_norms(model) == every
    moving = MovingStatistics.find(model)[every[1]]
    mean, var = moving.tensors()
    moving.replace(mean + 0.5, var)
    assert unmoved_norms(model) == [every[0], *every[2:]]
    moving.replace(mean, var + 0.5)
    assert unmoved_norms(model) == [every[0], *every[2:]]
