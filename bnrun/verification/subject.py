"""The norm under test: built anew for each observation, given a state, run, and read out."""

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.norms import NormFactory
from bnrun.norms.introspection import MovingStatistics, channel_values, named_values
from bnrun.norms.user_module import WrongOutput
from bnrun.verification.situations import CHANNELS, MAIN_RANKS, RANKS, Situation, plain

EPS_NAMES = ("eps", "epsilon")


class NotOffered(Exception):
    """The norm does not offer what an experiment is about; the message says what."""


class Subject:
    """A norm on a device and in a dtype.

    Args:
        factory: builds its layers.
        asks_rank: whether the class asks for the rank of its input; then it has to take 2 and 4.
        device, dtype: of its layers, and of what they are given.

    Raises:
        NormError: it cannot be built for an input of rank 2.
    """

    def __init__(
        self, factory: NormFactory, asks_rank: bool, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.asks_rank, self.device, self.dtype = asks_rank, device, dtype
        self._factory = factory
        self._takes: dict[int, bool] = {}
        self.cls = type(factory(CHANNELS, 2))

    def build(
        self,
        rank: int,
        situation: Situation | None = None,
        *,
        dtype: torch.dtype | None = None,
        channels: int | None = None,
        **options: Any,
    ) -> "Layer":
        """Build a layer for inputs of a rank, and give it a situation's state.

        Raises:
            NormError: the constructor refuses.
        """
        if channels is None:
            channels = CHANNELS if situation is None else situation.x.shape[1]
        dtype = dtype or self.dtype
        module = self._factory(channels, rank, **options).to(self.device, dtype)
        _convert_attributes(module, self.device, dtype)
        layer = Layer(module, self.device, dtype)
        if channels != CHANNELS:
            # With one channel, what is shared by all, or a convolution's, has the shape of a gamma.
            has_gamma, has_beta = self._has
            layer.gamma = layer.gamma if has_gamma else None
            layer.beta = layer.beta if has_beta else None
        if situation is not None:
            layer.hold(situation)
        return layer

    @functools.cached_property
    def _has(self) -> tuple[bool, bool]:
        """Tell whether the class has a gamma, and whether a beta, with a value for each channel."""
        layer = self.build(self.rank)
        return layer.gamma is not None, layer.beta is not None

    @property
    def arguments(self) -> set[str]:
        """Return the names of the constructor's arguments."""
        try:
            return set(inspect.signature(self.cls).parameters)
        except ValueError:
            return set()

    @property
    def rank(self) -> int:
        """Return the rank of experiments that ask for none: the first that is taken."""
        return next(filter(self.takes, RANKS), RANKS[0])

    @property
    def main_ranks(self) -> list[int]:
        """Return those of 2 and 4 that are taken, or the one other rank that is."""
        return [rank for rank in MAIN_RANKS if self.takes(rank)] or [self.rank]

    def takes(self, rank: int) -> bool:
        """Tell whether a pass forward and backward in training works for inputs of a rank."""
        if rank not in self._takes:
            situation = plain(rank, self.dtype)
            try:
                self.build(rank, situation).run(situation, training=True, grad=True)
                self._takes[rank] = True
            except Exception:
                self._takes[rank] = False
        return self._takes[rank]

    def argument(self, *names: str) -> str:
        """Return the first of some names that is an argument of the constructor.

        Raises:
            NotOffered: none is.
        """
        found = next((name for name in names if name in self.arguments), None)
        if found is None:
            raise NotOffered(f"the class takes no {names[0]}")
        return found


class Layer:
    """A built norm, with its gamma, beta and moving statistics, where they are found by name."""

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.module = module
        self.device, self.dtype = device, dtype  # of the inputs that it is given
        found = [channel_values(named_values(part)) for part in module.modules()]
        self.gamma = next((p.gamma for p in found if p is not None and p.gamma is not None), None)
        self.beta = next((p.beta for p in found if p is not None and p.beta is not None), None)
        self.moving = next(iter(MovingStatistics.find(module).values()), None)

    def hold(self, situation: Situation) -> None:
        """Give it a situation's state."""
        with torch.no_grad():
            for own, values in ((self.gamma, situation.gamma), (self.beta, situation.beta)):
                if own is not None:
                    own.copy_(values.reshape(own.shape).to(own.dtype))
        self.hold_moving(situation.moving_mean, situation.moving_var)

    def hold_moving(self, mean: Tensor, var: Tensor) -> None:
        """Give it moving statistics, of shape (C,), if it keeps any."""
        if self.moving is not None:
            self.moving.replace(mean, var)

    def forward(self, x: Tensor, *, training: bool, grad: bool) -> Tensor:
        """Return its output, after train() or eval() and with gradients enabled or not."""
        self.module.train(training)
        with torch.set_grad_enabled(grad):
            y: Tensor = self.module(x)
        if y.layout != torch.strided or y.device != x.device:
            raise WrongOutput(f"forward returned a {y.layout} tensor on {y.device}")
        return y

    def run(self, situation: Situation, *, training: bool, grad: bool) -> dict[str, Any]:
        """Return y and, with `grad`, the gradients; and the moving statistics afterwards.

        The keys are those of `recipe.play`; what it does not have is left out. It is given what a
        layer before it would give it: an input that is no leaf of autograd's graph.
        """
        leaf = self.to_own(situation.x).requires_grad_(grad)
        y = self.forward(leaf.clone() if grad else leaf, training=training, grad=grad)
        seen: dict[str, Any] = {"y": _plain(y), "connected": y.requires_grad}
        if grad:
            wanted = {"d_x": leaf, "d_gamma": self.gamma, "d_beta": self.beta}
            learned = {k: t for k, t in wanted.items() if t is not None and t.requires_grad}
            gradients: tuple[Tensor | None, ...] = (None,) * len(learned)
            if y.requires_grad:
                g = self.to_own(situation.g)
                gradients = torch.autograd.grad(y, list(learned.values()), g, allow_unused=True)
            for (name, tensor), gradient in zip(learned.items(), gradients, strict=True):
                found = _plain(torch.zeros_like(tensor) if gradient is None else gradient)
                seen[name] = found if name == "d_x" else found.reshape(-1)
        return seen | self.moving_values()

    def moving_values(self) -> dict[str, Tensor]:
        """Return the moving statistics, of shape (C,), if it keeps any."""
        if self.moving is None:
            return {}
        mean, var = self.moving.tensors()
        return {"moving_mean": _plain(mean).reshape(-1), "moving_var": _plain(var).reshape(-1)}

    def to_own(self, values: Tensor) -> Tensor:
        """Return values in the layer's dtype and on its device, as a tensor of their own."""
        return values.to(self.dtype).to(self.device, copy=True)  # mps takes no float64


def _convert_attributes(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Convert tensors that are plain attributes, which `Module.to` leaves behind."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor) and value.is_floating_point():
                converted = value.detach().to(device, dtype).requires_grad_(value.requires_grad)
                setattr(part, name, converted)


def _plain(values: Tensor) -> Tensor:
    return values.detach().cpu().double().clone()
