"""Probe `shadow`: moving statistics with other gains, carried along. One pass forward a look.

Moving statistics do not influence training. So one training carries any number of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnrun.errors import ConfigError
from bnrun.networks.lenet import LeNet
from bnrun.norms.batch_norm import BatchNorm
from bnrun.norms.introspection import MovingStatistics
from bnrun.norms.population import MergedStatistics
from bnrun.training.probes.instrument import Instrument
from bnrun.training.probes.sight import Sight, Values

MOMENTA = (0.5, 0.1, 0.01, 0.001)
"""Constant gains: the weight of the new batch."""
TRACKERS = (*(f"{momentum:g}" for momentum in MOMENTA), "1/k", "kalman")
"""The averages: of constant gain, of all batches so far, and the adaptive Kalman filter."""
MEMORY = 0.01
"""Weight of the new batch in the variances from which the Kalman filter takes its gain."""
FIRST = 20
"""Batches after which it does: before, its gain is 1/k."""

TENSORS = ("own", "averages", "last", "change", "squares", "products")
"""The attributes of a `Shadow` that change from batch to batch, beside its count."""


class Shadow(Instrument):
    """Moving statistics by other rules: each m <- m + K (batch - m), from 0 and 1 on.

    The trackers differ in the gain K: a constant; 1/k at batch k, which makes m the mean of all
    batches; and that of a Kalman filter of a random walk, whose variances q and r are estimated.
    The batch's values are z = walk + noise, so with d = z - (the last z), E[d²] = q + 2r and
    E[d (the last d)] = -r. Both are sums over the channels of a norm. With l = q / r, the gain is
    K = (√(l² + 4l) - l) / 2, which is that of the filter once it is steady.

    The batch's statistics are read off the norm's own: (new - (1 - momentum) old) / momentum.

    A look returns each tracker's error: the RMS over channels of its mean less that of the probe's
    batch, in deviations of that batch.

    Raises:
        ConfigError: a norm keeps no moving statistics of constant momentum.
    """

    def __init__(self, model: LeNet) -> None:
        self._found = MovingStatistics.find(model)
        self._momenta = [_momentum(moving.module) for moving in self._found.values()]
        if not self._found or 0.0 in self._momenta:
            raise ConfigError(
                "probe shadow needs norms with moving statistics of a constant momentum, such as "
                "scratch, builtin or l1, that normalize whole batches.",
                key="training.probe",
            )
        device = next(iter(self._found.values())).tensors()[0].device
        sizes = [tensor.numel() for moving in self._found.values() for tensor in moving.tensors()]
        self._sizes = sizes
        self._groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        self._groups = self._groups.to(device)
        self._weights = torch.cat(
            [
                torch.full((tensor.numel(),), momentum)
                for moving, momentum in zip(self._found.values(), self._momenta, strict=True)
                for tensor in moving.tensors()
            ]
        ).to(device)
        self._own = self._values()
        self._averages = self._own.repeat(len(TRACKERS), 1)
        self._gains = torch.tensor([*MOMENTA, 0.0, 0.0], device=device)[:, None]
        self._count = 0
        self._last = torch.zeros_like(self._own)
        self._change = torch.zeros_like(self._own)
        self._squares = torch.zeros(len(sizes), device=device)
        self._products = torch.zeros(len(sizes), device=device)

    def after_step(self, model: LeNet) -> None:
        """Give the batch of the step to every tracker."""
        own = self._values()
        batch = (own - (1 - self._weights) * self._own) / self._weights
        self._own = own
        self._count += 1
        self._estimate(batch)
        gains = self._gains.repeat(1, len(batch))
        gains[TRACKERS.index("1/k")] = 1 / self._count
        gains[TRACKERS.index("kalman")] = self._kalman_gains()
        self._averages += gains * (batch - self._averages)

    def look(self, sight: Sight) -> Values:
        """Compare each tracker's means with those of the probe's batch."""
        batches = {path: MergedStatistics() for path in self._found}
        hooks = [
            moving.module.register_forward_pre_hook(_adding(batches[path]))
            for path, moving in self._found.items()
        ]
        with torch.no_grad():
            sight.model(sight.images)
        for hook in hooks:
            hook.remove()
        return {
            path: {
                tracker: _error(self.statistics(tracker)[path][0], batch) for tracker in TRACKERS
            }
            for path, batch in batches.items()
        }

    def statistics(self, tracker: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Return a tracker's mean and variance by the path of the norm."""
        return by_norm(self.state(), list(self._found), tracker)

    def state(self) -> dict[str, Any]:
        """Return what the next batch is added to."""
        return {
            **{name: getattr(self, f"_{name}").to("cpu", copy=True) for name in TENSORS},
            "count": self._count,
            "sizes": list(self._sizes),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        device = self._own.device
        for name in TENSORS:
            setattr(self, f"_{name}", state[name].to(device, copy=True))
        self._count = state["count"]

    def _values(self) -> Tensor:
        """Return the norms' own moving statistics, one after the other."""
        tensors = [tensor for moving in self._found.values() for tensor in moving.tensors()]
        return torch.cat([tensor.detach().flatten() for tensor in tensors])

    def _estimate(self, batch: Tensor) -> None:
        """Follow the variances of the change from batch to batch, by norm."""
        change = batch - self._last
        if self._count > 2:  # both from here on: an average that starts at 0 is too small
            self._squares += MEMORY * (self._sums(change * change) - self._squares)
            self._products += MEMORY * (self._sums(change * self._change) - self._products)
        self._last, self._change = batch, change

    def _sums(self, values: Tensor) -> Tensor:
        return torch.zeros_like(self._squares).index_add_(0, self._groups, values)

    def _kalman_gains(self) -> Tensor:
        """Return the Kalman filter's gain for every channel."""
        if self._count <= FIRST:
            return torch.full_like(self._own, 1 / self._count)
        noise = (-self._products).clamp_min(1e-30)
        walk = (self._squares - 2 * noise).clamp_min(0)
        gains = 2 / (1 + (1 + 4 * noise / walk).sqrt())  # the same, without a small difference
        return gains.clamp_min(1 / self._count)[self._groups]


def by_norm(
    state: Mapping[str, Any], paths: list[str], tracker: str
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return a tracker's mean and variance by the path of the norm, from a state of `Shadow`."""
    parts = state["averages"][TRACKERS.index(tracker)].split(state["sizes"])
    return {path: (parts[2 * at], parts[2 * at + 1]) for at, path in enumerate(paths)}


def _momentum(module: nn.Module) -> float:
    """Return the momentum of a norm, in PyTorch's sense; 0 where it has none that is constant."""
    if "forward" in vars(module):  # in pieces: several updates a batch
        return 0.0
    momentum = module.momentum if isinstance(module, BatchNorm | _BatchNorm) else None
    return 0.0 if momentum is None else float(momentum)


def _adding(merged: MergedStatistics) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        merged.add(inputs[0])

    return hook


def _error(mean: Tensor, batch: MergedStatistics) -> float:
    distance = (mean.double() - batch.mean.cpu()).square() / batch.var.cpu().clamp_min(1e-30)
    return float(distance.mean().sqrt())
