"""Small networks with one fault each, and for each a healthy network that is its twin.

They are "trained" in milliseconds: random gamma and beta, moving statistics from a few forward
passes in training mode, and a last layer that least squares fits to the labels. So a network knows
its classes by the statistics that it had then, as after a real training.

Images are of 4 classes: a smooth pattern for each, and noise.
"""

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from bnrun.health.evidence import Loading

Batch = tuple[Any, Tensor]
Batches = list[Batch]

CLASSES = 4
SIDE = 8
TRACKED = 500
"""Batches that the norms of a "trained" network counted."""


@dataclass(frozen=True)
class Network:
    """A network as a user has it, and the data that it is audited with."""

    build: Callable[[], nn.Module]
    batches: Callable[[], Batches] | None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A network with one fault, and its healthy twin."""

    finding: str
    ill: Network
    healthy: Network


# Data


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@functools.cache
def images(
    batches: int = 4, size: int = 60, channels: int = 1, noise: float = 0.4, seed: int = 0
) -> Batches:
    """Return batches of images in 0..1, of shape (size, channels, 8, 8), with their classes."""
    random = _random(seed)
    coarse = torch.randn(CLASSES, channels, 3, 3, generator=_random(77))
    patterns = nn.functional.interpolate(coarse, SIDE, mode="bilinear")
    means = torch.linspace(-1.5, 1.5, channels).view(channels, 1, 1) if channels > 1 else 0.0
    made = []
    for _ in range(batches):
        y = torch.randint(CLASSES, (size,), generator=random)
        x = patterns[y] + means
        x = x + noise * torch.randn(x.shape, generator=random)
        made.append((x.sigmoid(), y))
    return made


@functools.cache
def sequences(length: int = 6, width: int = 8) -> Batches:
    """Return batches of sequences, of shape (60, length, width), with their classes."""
    random = _random(5)
    patterns = torch.randn(CLASSES, 1, width, generator=_random(78))
    made = []
    for _ in range(4):
        y = torch.randint(CLASSES, (60,), generator=random)
        x = patterns[y] + 0.5 * torch.randn(60, length, width, generator=random)
        made.append((x, y))
    return made


def changed(batches: Batches, change: Callable[[Tensor], Tensor]) -> Batches:
    """Return batches with changed inputs."""
    return [(change(x), y) for x, y in batches]


def last_of_one() -> Batches:
    """Return batches the last of which is of a single image."""
    *most, (x, y) = images()
    return [*most, (x[:1], y[:1])]


def by_ones() -> Batches:
    """Return batches of a single image each."""
    return [(x[k : k + 1], y[k : k + 1]) for x, y in images()[:2] for k in range(4)]


def by_twelves() -> Batches:
    """Return batches of twelve noisy images each."""
    return images(batches=12, size=12, noise=0.6)


def by_fours() -> Batches:
    """Return batches of four images each."""
    return [(x[k : k + 4], y[k : k + 4]) for x, y in images() for k in (0, 4)]


def normalized(x: Tensor) -> Tensor:
    """Normalize images as training did, by the mean and deviation of all of them."""
    return (x - 0.5) / 0.2


# Training, cheaply


def randomize(model: nn.Module, seed: int = 1) -> None:
    """Give all gammas and betas values such as a training leaves."""
    random = _random(seed)
    for module in model.modules():
        torchs = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm
        is_norm = isinstance(module, torchs | OwnNorm)
        if is_norm and isinstance(module.weight, nn.Parameter):
            nn.init.uniform_(module.weight, 0.6, 1.4, generator=random)
            nn.init.normal_(module.bias, 0.0, 0.3, generator=random)


def settle(model: nn.Module, batches: Sequence[Batch], *, average: bool = True) -> None:
    """Pass batches through a network in training mode.

    The moving statistics become the averages over all batches, or, without `average`, what the
    network's own momentum makes of them.
    """
    norms = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    momenta = [norm.momentum for norm in norms]
    model.train()
    with torch.no_grad():
        for k, (x, _) in enumerate(batches, start=1):
            for norm in norms if average else ():
                norm.momentum = 1 / k
            model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        if getattr(norm, "num_batches_tracked", None) is not None:
            norm.num_batches_tracked.fill_(TRACKED)


def fit_head(model: nn.Sequential, batches: Sequence[Batch], *, training: bool = False) -> None:
    """Fit the last layer to the labels, by its inputs as the network has them in a mode."""
    head = next(m for m in reversed(model) if isinstance(m, nn.Linear))
    inputs = []
    handle = head.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    model.train(training)
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    handle.remove()
    model.load_state_dict(before)  # training mode has moved the statistics
    features = torch.cat(inputs).double()
    features = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
    wanted = 4 * one_hot(torch.cat([y for _, y in batches]), CLASSES).double()
    ridge = 1e-4 * len(features) * torch.eye(features.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(features.T @ features + ridge, features.T @ wanted)
    with torch.no_grad():
        head.weight.copy_(solved[:-1].T)
        if head.bias is not None:
            head.bias.copy_(solved[-1])
    model.train()


def trained(
    layers: "OrderedDict[str, nn.Module]", batches: Sequence[Batch] | None = None
) -> nn.Sequential:
    """Return a network of these layers that is trained and healthy."""
    batches = images() if batches is None else batches
    model = nn.Sequential(layers)
    randomize(model)
    settle(model, batches)
    fit_head(model, batches)
    return model


# Layers


def conv_layers(
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d, *, channels: int = 1, bias: bool = False
) -> "OrderedDict[str, nn.Module]":
    """Return the layers of a small convolutional network with two norms."""
    torch.manual_seed(3)
    return OrderedDict(
        conv1=nn.Conv2d(channels, 8, 3, padding=1, bias=bias),
        norm1=norm(8),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
        norm2=norm(8),
        relu2=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(2),
        flatten=nn.Flatten(),
        head=nn.Linear(32, CLASSES),
    )


def dense_layers(
    norm: Callable[[int], nn.Module] = nn.BatchNorm1d, *, before: float = 0.0, after: float = 0.0
) -> "OrderedDict[str, nn.Module]":
    """Return the layers of a small network without convolutions, with two norms and dropout."""
    torch.manual_seed(4)
    return OrderedDict(
        flatten=nn.Flatten(),
        fc1=nn.Linear(SIDE * SIDE, 24, bias=False),
        norm1=norm(24),
        relu1=nn.ReLU(),
        drop1=nn.Dropout(before),
        fc2=nn.Linear(24, 16, bias=False),
        norm2=norm(16),
        relu2=nn.ReLU(),
        drop2=nn.Dropout(after),
        head=nn.Linear(16, CLASSES),
    )


def pooled_layers(norm: nn.Module) -> "OrderedDict[str, nn.Module]":
    """Return the layers of a network whose second norm comes after pooling to 1×1."""
    torch.manual_seed(6)
    return OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(8),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
        pool=nn.AdaptiveAvgPool2d(1),
        norm2=norm,
        flatten=nn.Flatten(),
        head=nn.Linear(8, CLASSES),
    )


def sequence_layers(norm: nn.Module, width: int = 8) -> "OrderedDict[str, nn.Module]":
    """Return the layers of a network for sequences (N, L, C), with one norm after a linear layer.

    The last layer needs the flattened length of 6 × 8.
    """
    torch.manual_seed(8)
    return OrderedDict(
        embed=nn.Linear(8, width, bias=False),
        norm=norm,
        act=nn.GELU(),
        flatten=nn.Flatten(),
        head=nn.LazyLinear(CLASSES),
    )


class Transposed(nn.Module):
    """A batch norm for (N, L, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class OwnNorm(nn.Module):
    """A right batch norm in a class that torch's tools do not know."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )


class AttributeNorm(OwnNorm):
    """An own batch norm that keeps its statistics outside of the state."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        del self.running_mean, self.running_var
        self.running_mean = torch.zeros(num_features)
        self.running_var = torch.ones(num_features)


class ClampedNorm(nn.BatchNorm2d):
    """A subclass whose forward does something of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp(-50, 50))


class MyLayerNorm(nn.Module):
    """A layer norm that mistakes the batch for the features."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(self.dim, keepdim=True)
        var = x.var(self.dim, unbiased=False, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * self.weight + self.bias


# Healthy networks


def small() -> nn.Module:
    return trained(conv_layers())


def small_of_colours() -> nn.Module:
    return trained(conv_layers(channels=3), images(channels=3))


def small_of_normalized() -> nn.Module:
    return trained(conv_layers(), changed(images(), normalized))


def dense() -> nn.Module:
    return trained(dense_layers())


def pooled() -> nn.Module:
    return trained(pooled_layers(nn.BatchNorm2d(8)))


HEALTHY = Network(small, images)


# Ill ones: moving statistics


def as_built() -> nn.Module:
    return nn.Sequential(conv_layers())


def never_updated() -> nn.Module:
    model = nn.Sequential(conv_layers())
    randomize(model)
    fit_head(model, images(), training=True)
    return model


def own_attributes() -> nn.Module:
    """Return what `load_state_dict` leaves of a network whose statistics are no buffers."""
    source = nn.Sequential(conv_layers(AttributeNorm))
    randomize(source)
    fit_head(source, images(), training=True)
    model = nn.Sequential(conv_layers(AttributeNorm))
    model.load_state_dict(source.state_dict())
    return model


def stale() -> nn.Module:
    """Return a network whose weights went on while its statistics hardly moved."""
    layers = conv_layers(functools.partial(nn.BatchNorm2d, momentum=0.01))
    model = trained(layers)
    with torch.no_grad():
        model.conv1.weight.mul_(torch.linspace(0.4, 3, 8).view(8, 1, 1, 1))
        model.conv2.weight.add_(0.15)
    fit_head(model, images(), training=True)
    return model


def short_memory() -> nn.Module:
    """Return a network whose statistics are little more than those of the last small batch."""
    layers = dense_layers(functools.partial(nn.BatchNorm1d, momentum=0.4))
    return _by_last_batches(layers)


def reversed_momentum() -> nn.Module:
    layers = dense_layers(functools.partial(nn.BatchNorm1d, momentum=0.99))
    return _by_last_batches(layers)


def _by_last_batches(layers: "OrderedDict[str, nn.Module]") -> nn.Module:
    model = nn.Sequential(layers)
    randomize(model)
    settle(model, 4 * images(batches=6, size=8, noise=0.6, seed=8), average=False)
    fit_head(model, by_twelves(), training=True)
    return model


def few_steps(*, steps: int, momentum: float = 0.01) -> nn.Module:
    model = nn.Sequential(conv_layers(functools.partial(nn.BatchNorm2d, momentum=momentum)))
    randomize(model)
    batches = images()
    settle(model, [batches[k % len(batches)] for k in range(steps)], average=False)
    for norm in (model.norm1, model.norm2):
        norm.num_batches_tracked.fill_(steps)
    fit_head(model, batches, training=True)
    return model


def without(*names: str) -> nn.Module:
    """Return a trained network in which a file left some tensors as the network was built."""
    model, new = trained(conv_layers()), nn.Sequential(conv_layers())
    torch.manual_seed(11)
    nn.init.normal_(new.conv2.weight)
    own = new.state_dict()
    model.load_state_dict({name: own[name] for name in names}, strict=False)
    return model


# Ill ones: batches, uses, domains


class Siamese(nn.Module):
    """Two branches that share their layers; `second` changes what the second one sees."""

    def __init__(
        self, second: Callable[[Tensor], Tensor], *, shared: bool = True, join: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.second, self.join = second, join
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.other = None if shared else nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.conv(x), self.conv(self.second(x))
        if self.join:
            both = self.norm(torch.cat([left, right]))
            left, right = both[: len(x)], both[len(x) :]
        else:
            left, right = self.norm(left), (self.norm if self.other is None else self.other)(right)
        return torch.cat([self.pool(left.relu()), self.pool(right.relu())], dim=1).flatten(1)


def siamese(second: Callable[[Tensor], Tensor], **options: bool) -> nn.Module:
    """Return a trained network of two branches, the head fitted as it is in training."""
    model = nn.Sequential(
        OrderedDict(branches=Siamese(second, **options), head=nn.Linear(64, CLASSES))
    )
    randomize(model)
    settle(model, images())
    fit_head(model, images(), training=True)
    return model


def mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


def far_away(x: Tensor) -> Tensor:
    return 3 * x + 4


@functools.cache
def two_domains() -> Batches:
    """Return batches of images, and of negatives in another range, in turn."""
    return [
        (3 - 4 * x if k % 2 else x, y)
        for k, (x, y) in enumerate(images(batches=6, size=24, noise=0.3))
    ]


@functools.cache
def both_in_each_batch() -> Batches:
    """Return the images of both domains, mixed."""
    made = []
    for (x, y), (v, w) in zip(two_domains()[0::2], two_domains()[1::2], strict=True):
        for half in (slice(0, 12), slice(12, 24)):
            made.append((torch.cat([x[half], v[half]]), torch.cat([y[half], w[half]])))
    return made


def of_domains(batches: Callable[[], Batches]) -> nn.Module:
    model = nn.Sequential(conv_layers())
    randomize(model)
    settle(model, batches())
    fit_head(model, batches(), training=True)
    return model


class HasOther(nn.Sequential):
    """It has one more norm, which is called in training, or never."""

    def __init__(self, layers: "OrderedDict[str, nn.Module]", *, called: bool) -> None:
        super().__init__(layers)
        self.called = called
        self.auxiliary = nn.ModuleDict({"norm": nn.BatchNorm2d(1)})

    def forward(self, x: Tensor) -> Tensor:
        if self.called and self.training:
            self.auxiliary["norm"](x)
        for name, layer in self.named_children():
            x = x if name == "auxiliary" else layer(x)
        return x


def with_other(*, called: bool) -> nn.Module:
    """Return a trained network that has a norm for training alone, or one that is never called."""
    model = HasOther(conv_layers(), called=called)
    randomize(model)
    settle(model, images())
    if not called:
        model.auxiliary["norm"].reset_running_stats()
    fit_head(model, images())
    return model


# Ill ones: freezing


def frozen(*, evaluation: bool) -> nn.Module:
    """Return a network with frozen norms; with `evaluation`, `train()` keeps them in eval()."""
    model = trained(conv_layers()) if not evaluation else _keeping(TrainsHeadOnly, conv_layers())
    for norm in (model.norm1, model.norm2):
        norm.requires_grad_(requires_grad=False)
    return model


class TrainsHeadOnly(nn.Sequential):
    """Its `train` keeps the norms in evaluation mode."""

    def train(self, mode: bool = True) -> "TrainsHeadOnly":
        super().train(mode)
        for module in self:
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class TrainsInForward(nn.Sequential):
    """Its `forward` puts one norm into training mode."""

    def forward(self, x: Tensor) -> Tensor:
        self.norm2.train()
        return super().forward(x)


class ByFunction(nn.Module):
    """A batch norm; or one that a function, or a formula, applies to each batch by its values."""

    def __init__(self, channels: int, *, by: str) -> None:
        super().__init__()
        self.norm, self.by = nn.BatchNorm2d(channels), by

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        if self.by == "module":
            return norm(x)
        if self.by == "formula":
            var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
            gamma, beta = (one.view(1, -1, 1, 1) for one in (norm.weight, norm.bias))
            return (x - mean) / (var + norm.eps).sqrt() * gamma + beta
        return nn.functional.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=True
        )


class TrainsAlways(nn.Sequential):
    """Its `train` puts one norm into training mode, whatever the mode is."""

    def train(self, mode: bool = True) -> "TrainsAlways":
        super().train(mode)
        self.norm1.train()
        return self


def _keeping(cls: type[nn.Sequential], layers: "OrderedDict[str, nn.Module]") -> nn.Sequential:
    """Return a trained network of a class with a `train` of its own."""
    source = trained(layers)
    model = cls(OrderedDict(source.named_children()))
    model.train()
    return model


def freeze_undone() -> nn.Module:
    model = trained(conv_layers())
    model.norm1.eval()
    return model


# Ill ones: channels


def with_values(name: str, **values: Any) -> nn.Module:
    """Return a trained network, with other values in one norm: `weight=(slice(None), 0.0)`."""
    model = trained(conv_layers())
    norm = model.get_submodule(name)
    with torch.no_grad():
        for key, (where, value) in values.items():
            getattr(norm, key)[where] = value
    return model


def dead_filters() -> nn.Module:
    """Return a network the first layer of which has filters of zeros: variance 0 behind them."""
    layers = conv_layers()
    with torch.no_grad():
        layers["conv1"].weight[:3] = 0.0
    return trained(layers)


# Ill ones: structure and options


def two_norms() -> nn.Module:
    layers = conv_layers()
    ordered = list(layers.items())
    ordered.insert(2, ("again", nn.BatchNorm2d(8)))
    return trained(OrderedDict(ordered))


def norm_at_the_end() -> nn.Module:
    model = trained(conv_layers())
    model.append(nn.BatchNorm1d(CLASSES))
    with torch.no_grad():
        model.head.bias.zero_()
    model.head.bias = None
    settle(model, images())
    return model


def mixed(**second: Any) -> nn.Module:
    """Return a network the second norm of which has other options."""
    layers = conv_layers()
    layers["norm2"] = nn.BatchNorm2d(8, **second)
    return trained(layers)


def half_precision(*, norms_in_float: bool = False) -> nn.Module:
    """Return a network in bfloat16, for images of low contrast far from 0."""
    model = trained(conv_layers(), changed(images(), low_contrast)).bfloat16()
    if norms_in_float:
        model.norm1.float()
        model.norm2.float()
    return model


def low_contrast(x: Tensor) -> Tensor:
    return 4 + 0.5 * x


def in_bfloat16() -> Batches:
    return changed(images(), lambda x: low_contrast(x).bfloat16())


def counted(**tracked: int) -> nn.Module:
    """Return a trained network whose norms counted so many batches."""
    model = trained(conv_layers())
    for name, number in tracked.items():
        model.get_submodule(name).num_batches_tracked.fill_(number)
    return model


def of_sequences(norm: Callable[[], nn.Module]) -> nn.Module:
    """Return a trained network for sequences, of 6 positions and 8 features."""
    model = nn.Sequential(sequence_layers(norm()))
    model(sequences()[0][0])
    model.zero_grad()
    randomize(model)
    settle(model, sequences())
    fit_head(model, sequences())
    return model


def on_bfloat16(build: Callable[[], nn.Module]) -> Network:
    return Network(build, in_bfloat16)


def of(build: Callable[..., nn.Module], *args: Any, **options: Any) -> Network:
    """Return a network that is audited with the images it was trained on."""
    return Network(functools.partial(build, *args, **options), images)


def loaded(*missing: str, unexpected: tuple[str, ...] = (), decay: float = 0.0) -> dict[str, Any]:
    """Return what loading a file gave, as the option of an audit."""
    names = [f"{norm}.{name}" for norm in ("norm1", "norm2") for name in ("weight", "bias")]
    decays = dict.fromkeys(names, decay)
    file = "weights.pt"
    return {"loading": Loading(file, (), missing, unexpected, weight_decay=decays)}


def sequence_of(norm: Callable[[], nn.Module]) -> Network:
    return Network(functools.partial(of_sequences, norm), sequences)


def small_with(norm: Callable[[int], nn.Module]) -> nn.Module:
    return trained(conv_layers(norm))


def pooled_with(norm: Callable[[int], nn.Module]) -> nn.Module:
    return trained(pooled_layers(norm(8)))


def with_bias() -> nn.Module:
    return trained(conv_layers(bias=True))


def with_dropout(*, before: float = 0.0, after: float = 0.0) -> nn.Module:
    return trained(dense_layers(before=before, after=after))


def swapped(x: Tensor) -> Tensor:
    return x.flip(1)


NAN, INFINITY = math.nan, math.inf
ALL = slice(None)
HEALTHY_DENSE = Network(dense, images)
SEQUENCES = sequence_of(functools.partial(nn.LayerNorm, 8))

STATISTICS = tuple(
    f"{norm}.{name}" for norm in ("norm1", "norm2") for name in ("running_mean", "running_var")
)
WITH_FILE = Network(small, images, loaded())

PAIRS: list[Pair] = [
    # loading
    Pair(
        "weights-missing",
        Network(functools.partial(without, "conv2.weight"), images, loaded("conv2.weight")),
        WITH_FILE,
    ),
    Pair(
        "statistics-missing",
        Network(functools.partial(without, *STATISTICS), images, loaded(*STATISTICS)),
        WITH_FILE,
    ),
    Pair(
        "weights-unexpected",
        Network(small, images, loaded(unexpected=("teacher.weight",))),
        WITH_FILE,
    ),
    # moving statistics
    Pair("untrained", of(as_built), HEALTHY),
    Pair("average-unfinished", of(few_steps, steps=60), HEALTHY),
    Pair("never-updated", of(never_updated), HEALTHY),
    Pair("never-updated", of(own_attributes), HEALTHY),
    Pair("stale", of(stale), HEALTHY),
    Pair("memory-too-short", Network(short_memory, by_twelves), HEALTHY_DENSE),
    Pair("momentum-reversed", Network(reversed_momentum, by_twelves), HEALTHY_DENSE),
    # inputs
    Pair("inputs-changed", Network(small, lambda: changed(images(), lambda x: 255 * x)), HEALTHY),
    Pair(
        "inputs-changed",
        Network(small_of_normalized, images),
        Network(small_of_normalized, lambda: changed(images(), normalized)),
    ),
    Pair(
        "inputs-changed",
        Network(small_of_colours, lambda: changed(images(channels=3), swapped)),
        Network(small_of_colours, lambda: images(channels=3)),
    ),
    Pair("dropout-shift", of(with_dropout, before=0.5), of(with_dropout, after=0.5)),
    # batches
    Pair(
        "one-value-per-channel",
        Network(pooled, last_of_one),
        Network(pooled, images),
    ),
    Pair("one-value-per-channel", Network(pooled, by_ones), Network(pooled, images)),
    Pair(
        "one-value-per-channel",
        of(pooled_with, functools.partial(nn.GroupNorm, 8)),
        of(pooled_with, functools.partial(nn.GroupNorm, 2)),
    ),
    Pair("too-few-values", Network(dense, by_fours), HEALTHY_DENSE),
    # uses
    Pair("reused", of(siamese, mirrored), of(siamese, mirrored, shared=False)),
    Pair("never-called", of(with_other, called=False), of(with_other, called=True)),
    Pair("two-domains", of(siamese, far_away), of(siamese, far_away, shared=False)),
    Pair(
        "two-domains",
        Network(functools.partial(of_domains, two_domains), two_domains),
        Network(functools.partial(of_domains, both_in_each_batch), both_in_each_batch),
    ),
    # steps
    Pair(
        "micro-batches",
        Network(small, images, {"steps": TRACKED // 4}),
        Network(small, images, {"steps": TRACKED}),
    ),
    Pair(
        "steps-unlike-batches",
        Network(small, images, {"steps": TRACKED - 150}),
        Network(small, images, {"steps": TRACKED}),
    ),
    Pair("uneven-counts", of(counted, norm2=2 * TRACKED), HEALTHY),
    # freezing
    Pair("frozen-but-moving", of(frozen, evaluation=False), of(frozen, evaluation=True)),
    Pair("freeze-undone", of(freeze_undone), HEALTHY),
    Pair(
        "statistics-frozen",
        of(lambda: _keeping(TrainsHeadOnly, conv_layers())),
        of(frozen, evaluation=True),
    ),
    Pair("training-after-eval", of(lambda: _keeping(TrainsAlways, conv_layers())), HEALTHY),
    Pair("training-after-eval", of(lambda: _keeping(TrainsInForward, conv_layers())), HEALTHY),
    *(
        Pair(
            "training-after-eval",
            of(small_with, functools.partial(ByFunction, by=by)),
            of(small_with, functools.partial(ByFunction, by="module")),
        )
        for by in ("function", "formula")
    ),
    # channels
    Pair("gamma-off", of(with_values, "norm2", weight=(ALL, 0.0), bias=(ALL, 0.0)), HEALTHY),
    Pair("variance-off", of(dead_filters), HEALTHY),
    Pair("not-finite", of(with_values, "norm1", running_var=(2, NAN)), HEALTHY),
    Pair("not-finite", of(with_values, "norm2", running_mean=(1, INFINITY)), HEALTHY),
    Pair("not-finite", of(with_values, "norm2", running_var=(0, -0.5)), HEALTHY),
    # structure
    Pair("bias-before-norm", of(with_bias), HEALTHY),
    Pair("two-norms", of(two_norms), HEALTHY),
    Pair("norm-at-the-end", of(norm_at_the_end), HEALTHY),
    Pair(
        "weight-decay-on-norms",
        Network(small, images, loaded(decay=1e-4)),
        Network(small, images, loaded()),
    ),
    # options
    Pair("eps-differs", of(mixed, eps=1e-3), HEALTHY),
    Pair("momentum-differs", of(mixed, momentum=0.01), HEALTHY),
    Pair("large-eps", of(small_with, lambda channels: nn.BatchNorm2d(channels, channels)), HEALTHY),
    Pair("zero-momentum", of(small_with, functools.partial(nn.BatchNorm2d, momentum=0.0)), HEALTHY),
    Pair(
        "half-precision-statistics",
        on_bfloat16(half_precision),
        on_bfloat16(functools.partial(half_precision, norms_in_float=True)),
    ),
    # tools
    Pair("unseen-by-tools", of(small_with, OwnNorm), HEALTHY),
    Pair("replaced-by-sync", of(small_with, ClampedNorm), HEALTHY),
    # other norms
    Pair(
        "instance-norm-tracks",
        of(
            small_with,
            functools.partial(nn.InstanceNorm2d, affine=True, track_running_stats=True),
        ),
        of(small_with, functools.partial(nn.InstanceNorm2d, affine=True)),
    ),
    Pair(
        "predicts-with-batch",
        of(small_with, functools.partial(nn.BatchNorm2d, track_running_stats=False)),
        HEALTHY,
    ),
    Pair(
        "over-examples",
        sequence_of(functools.partial(MyLayerNorm, 8, 0)),
        sequence_of(functools.partial(MyLayerNorm, 8, -1)),
    ),
    Pair("wrong-axis", sequence_of(functools.partial(nn.BatchNorm1d, 6)), SEQUENCES),
    Pair(
        "wrong-axis",
        sequence_of(functools.partial(nn.GroupNorm, 2, 6)),
        sequence_of(functools.partial(Transposed, 8)),
    ),
    Pair(
        "wrong-axis",
        of(lambda: trained(layer_norm_over_columns())),
        of(small_with, functools.partial(nn.GroupNorm, 1)),
    ),
]


def layer_norm_over_columns() -> "OrderedDict[str, nn.Module]":
    """Return layers whose LayerNorm normalizes each row of an image: 8 is its width."""
    layers = conv_layers()
    layers["norm1"] = nn.LayerNorm(SIDE)
    return layers
