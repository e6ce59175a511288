"""The networks of well-known threads, rebuilt small in our own words, with the cause of each.

A thread is named as owner/repository#number. The symptom is what was reported; the cause is the
thread's own where it names one, and else what the project's code as we read it shows.

Three more need no network of their own, being those of `ill_networks.PAIRS`: `zero-momentum` is
Cadene/pretrained-models.pytorch#5, `momentum-reversed` pytorch/vision#8250 (0.99 from TensorFlow),
and `inputs-changed` bearpaw/pytorch-pose#4 (validation images prepared otherwise).

Not settled by their threads: the first report of pytorch#4741 (it shows no network; the one here is
of its comments of October 2018), Person_reID_baseline_pytorch#218 and HiDDeN#13.
"""

import functools
from collections import OrderedDict
from dataclasses import dataclass

import torch
from ill_networks import (
    CLASSES,
    SIDE,
    Batches,
    Network,
    conv_layers,
    few_steps,
    fit_head,
    images,
    mixed,
    pooled_layers,
    randomize,
    settle,
    trained,
)
from torch import Tensor, nn


@dataclass(frozen=True)
class Thread:
    """A thread, and the finding that is its cause."""

    name: str
    symptom: str
    finding: str
    network: Network


# pytorch/pytorch#5406: a network as it is built, in eval() and in train()


def untrained() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU())


def boards() -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [3 * torch.randn(32, 1, 19, 19, generator=random) + 2 for _ in range(3)]


# pytorch/pytorch#4741 (October 2018): each batch is the windows of one recording


@functools.cache
def windows() -> Batches:
    """Return batches of 24 windows of 1 × 16 values; each batch has a level and a scale."""
    random = torch.Generator().manual_seed(2)
    shapes = torch.randn(CLASSES, 1, 16, generator=random)
    made = []
    for _ in range(10):
        y = torch.randint(CLASSES, (24,), generator=random)
        noisy = shapes[y] + 0.3 * torch.randn(24, 1, 16, generator=random)
        level, scale = torch.randn(2, generator=random)
        made.append((6 * level + (1.5 * scale).exp() * noisy, y))
    return made


def over_windows() -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv1d(1, 16, 5, padding=2, bias=False),
            norm=nn.BatchNorm1d(16),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool1d(8),
            flatten=nn.Flatten(),
            head=nn.Linear(128, CLASSES),
        )
    )
    randomize(model)
    settle(model, windows())
    fit_head(model, windows(), training=True)
    return model


# keras-team/keras#10666 and #7265: momentum .99 (0.01 in PyTorch), and few steps


def one_batch() -> Batches:
    """Return one batch only."""
    return images(batches=1, size=128)


# pytorch/vision#2079: all parameters frozen, then train()


class Dense(nn.Module):
    """A layer that adds its output to its input as further channels."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(self.relu(self.norm(x)))], dim=1)


def frozen_dense() -> nn.Module:
    torch.manual_seed(4)
    layers = OrderedDict(
        stem=nn.Conv2d(1, 6, 3, padding=1, bias=False),
        dense1=Dense(6, 4),
        dense2=Dense(10, 4),
        pool=nn.AdaptiveAvgPool2d(2),
        flatten=nn.Flatten(),
        head=nn.Linear(56, CLASSES),
    )
    return trained(layers).requires_grad_(requires_grad=False)


# yanx27/GACNet#8: model.py normalizes the centres (absolute places) and their neighbours (relative
# ones) with the same norms


class Grouped(nn.Module):
    """Points (N, 3, P) in absolute places, and relative to their centre, through one layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv1d(3, 12, 1, bias=False)
        self.norm = nn.BatchNorm1d(12)

    def forward(self, points: Tensor) -> Tensor:
        centre = points.mean(2, keepdim=True)
        centres = self.norm(self.conv(centre)).relu()
        neighbours = self.norm(self.conv(points - centre)).relu()
        return torch.cat([centres.flatten(1), neighbours.amax(2), neighbours.mean(2)], dim=1)


@functools.cache
def clouds() -> Batches:
    random = torch.Generator().manual_seed(6)
    shapes = torch.randn(CLASSES, 3, 12, generator=random)
    made = []
    for _ in range(5):
        y = torch.randint(CLASSES, (24,), generator=random)
        noise = 0.3 * torch.randn(24, 3, 12, generator=random)
        made.append((5 + shapes[y] + torch.randn(24, 3, 1, generator=random) + noise, y))
    return made


def of_clouds() -> nn.Module:
    model = nn.Sequential(OrderedDict(group=Grouped(), head=nn.Linear(36, CLASSES)))
    randomize(model)
    settle(model, clouds())
    fit_head(model, clouds(), training=True)
    return model


# layumi/Person_reID_baseline_pytorch#218: a norm behind the pooling, batches of 1 to 10


def bottleneck() -> nn.Module:
    return trained(pooled_layers(nn.BatchNorm2d(8)))


def of_many_sizes() -> Batches:
    return [(x[:size], y[:size]) for size, (x, y) in zip((7, 1, 10, 4), images(), strict=True)]


# uci-cbcl/UFold#18: batches of one; every sequence has statistics of its own


@functools.cache
def one_map_each() -> Batches:
    return [
        (x[k : k + 1] * (0.2 + k) + torch.tensor(float(k % 3)), y[k : k + 1])
        for x, y in images()[:4]
        for k in range(3)
    ]


def of_single_maps() -> nn.Module:
    return trained(conv_layers(), one_map_each())


# facebookresearch/VideoPose3D#113: the two modes differ a little, as they should; dropout between
# norms adds to that


class Residual(nn.Module):
    """Dilated convolutions as for poses: norm, ReLU and dropout, twice, and a sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)
        self.relu, self.drop = nn.ReLU(), nn.Dropout(0.25)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.relu(self.norm1(self.conv1(x))))
        return x + self.drop(self.relu(self.norm2(self.conv2(y))))


def of_poses() -> nn.Module:
    torch.manual_seed(7)
    layers = OrderedDict(
        rows=nn.Flatten(1, 2),
        expand=nn.Conv1d(SIDE, 16, 3, padding=1, bias=False),
        norm=nn.BatchNorm1d(16),
        relu=nn.ReLU(),
        block=Residual(16),
        flatten=nn.Flatten(),
        head=nn.Linear(16 * SIDE, CLASSES),
    )
    return trained(layers)


# ando-khachatryan/HiDDeN#13: noise layers draw their strength once for a batch


@functools.cache
def noised() -> Batches:
    random = torch.Generator().manual_seed(8)
    strengths = torch.linspace(0, 1, 8)[torch.randperm(8, generator=random)]
    return [
        ((1 - 0.8 * s) * x + 2 * s, y)
        for s, (x, y) in zip(strengths, images(8, 24, noise=0.3), strict=True)
    ]


def decoder() -> nn.Module:
    model = nn.Sequential(conv_layers())
    randomize(model)
    settle(model, noised())
    fit_head(model, noised(), training=True)
    return model


THREADS = [
    Thread(
        "pytorch/pytorch#5406",
        "eval() and train() give different outputs of a new network",
        "untrained",
        Network(untrained, boards),
    ),
    Thread(
        "pytorch/pytorch#4741",
        "eval() is far worse than train() on the same data",
        "two-domains",
        Network(over_windows, windows),
    ),
    Thread(
        "keras-team/keras#10666",
        "the validation loss goes up and down; momentum .9 for .99 cures it",
        "average-unfinished",
        Network(functools.partial(few_steps, steps=60), images),
    ),
    Thread(
        "keras-team/keras#7265",
        "training and evaluation differ on the same single batch",
        "average-unfinished",
        Network(functools.partial(few_steps, steps=30), one_batch),
    ),
    Thread(
        "pytorch/vision#2079",
        "predictions change after train(), without any update of weights",
        "frozen-but-moving",
        Network(frozen_dense, images),
    ),
    Thread(
        "yanx27/GACNet#8",
        "accuracy falls much with model.eval()",
        "two-domains",
        Network(of_clouds, clouds),
    ),
    Thread(
        "layumi/Person_reID_baseline_pytorch#218",
        "better without eval(), and worst with images one by one",
        "one-value-per-channel",
        Network(bottleneck, of_many_sizes),
    ),
    Thread(
        "uci-cbcl/UFold#18",
        "trained and tested in train(), with batches of 1",
        "too-few-values",
        Network(of_single_maps, one_map_each),
    ),
    Thread(
        "facebookresearch/VideoPose3D#113",
        "eval() and train() differ after the same epoch",
        "dropout-shift",
        Network(of_poses, images),
    ),
    Thread(
        "ando-khachatryan/HiDDeN#13",
        "the bit error rises with eval()",
        "two-domains",
        Network(decoder, noised),
    ),
    Thread(
        "weiaicunzai/pytorch-cifar100#96",
        "nn.BatchNorm2d(n, n): the second argument is eps",
        "large-eps",
        Network(functools.partial(mixed, eps=8.0), images),
    ),
]
