"""The norm under test: built anew for each experiment, given a state, run, and read out."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.norms import NormFactory
from bnrun.norms.introspection import MovingStatistics, channel_values, named_values
from bnrun.norms.user_module import WrongOutput
from bnrun.verification.situations import CHANNELS, MAIN_RANKS, RANKS, Situation, plain


class NotOffered(Exception):
    """The norm does not offer what an experiment is about; the message says what."""


class Record:
    """Base of the records that experiments return.

    Each is a frozen dataclass of plain values, lists and dicts, other records, and tensors in
    float64 on the CPU. So it can cross from the process that runs the norm.
    """


@dataclass(frozen=True)
class Pass(Record):
    """One pass forward, and backward where gradients are enabled.

    `gradients` (d_x, d_gamma, d_beta) and `moving` (moving_mean, moving_var, of shape (C,)) leave
    out what the layer does not have. `connected` says whether y is part of autograd's graph.
    """

    y: Tensor
    gradients: dict[str, Tensor]
    moving: dict[str, Tensor]
    connected: bool

    @property
    def output(self) -> dict[str, Tensor]:
        """Return y by its name."""
        return {"y": self.y}


class Subject:
    """A norm on a device and in a dtype.

    Args:
        factory: builds its layers.
        asks_rank: whether the class asks for the rank of its input; then it must accept 2 and 4.
        device, dtype: of its layers, and of their inputs.

    Raises:
        NormError: it cannot be built for an input of rank 2.
    """

    def __init__(
        self, factory: NormFactory, asks_rank: bool, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.asks_rank, self.device, self.dtype = asks_rank, device, dtype
        self._factory = factory
        self._accepts: dict[int, bool] = {}
        self.cls = type(factory(CHANNELS, 2))

    def build(
        self,
        rank: int,
        situation: Situation | None = None,
        *,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> "Layer":
        """Build a layer for inputs of a rank, and give it a situation's state.

        Raises:
            NormError: the constructor refuses.
        """
        channels = CHANNELS if situation is None else situation.x.shape[1]
        dtype = dtype or self.dtype
        module = self._factory(channels, rank, **options).to(self.device, dtype)
        _convert_attributes(module, self.device, dtype)
        layer = Layer(module, self.device, dtype, channels)
        if channels != CHANNELS:
            # With one channel, a value shared by all, or a convolution's, looks like a gamma.
            has_gamma, has_beta = self._has
            layer.gamma = layer.gamma if has_gamma else None
            layer.beta = layer.beta if has_beta else None
        if situation is not None:
            layer.set_state(situation)
        return layer

    def situation(
        self, kind: Callable[[int, torch.dtype], Situation], rank: int | None = None
    ) -> Situation:
        """Return a situation of a kind, for inputs of a rank."""
        return kind(self.rank if rank is None else rank, self.dtype)

    def run(
        self, situation: Situation, *, training: bool, grad: bool | None = None, **options: Any
    ) -> Pass:
        """Build a layer, give it a situation's state, and run one pass."""
        layer = self.build(situation.x.dim(), situation, **options)
        return layer.run(situation, training=training, grad=grad)

    @functools.cached_property
    def _has(self) -> tuple[bool, bool]:
        """Return whether the class has a gamma, and a beta, with a value for each channel."""
        layer = self.build(self.rank)
        return layer.gamma is not None, layer.beta is not None

    @property
    def rank(self) -> int:
        """Return the rank for experiments that need any one: the first that is accepted."""
        return next(filter(self.accepts, RANKS), RANKS[0])

    @property
    def main_ranks(self) -> list[int]:
        """Return those of 2 and 4 that are accepted, or the one other rank that is."""
        return [rank for rank in MAIN_RANKS if self.accepts(rank)] or [self.rank]

    def accepts(self, rank: int) -> bool:
        """Return whether a pass forward and backward in training works for inputs of a rank."""
        if rank not in self._accepts:
            try:
                self.run(self.situation(plain, rank), training=True)
                self._accepts[rank] = True
            except Exception:
                self._accepts[rank] = False
        return self._accepts[rank]

    def argument(self, *names: str) -> str:
        """Return the first of some names that is an argument of the constructor.

        Raises:
            NotOffered: none is.
        """
        arguments: set[str] = set()
        with contextlib.suppress(ValueError):  # some classes of C have no signature
            arguments = set(inspect.signature(self.cls).parameters)
        for name in names:
            if name in arguments:
                return name
        raise NotOffered(f"the class takes no {names[0]}")


class Layer:
    """A built norm, with its gamma, beta and moving statistics, where they are found by name.

    A value of another length than `channels`, such as a scale that all channels share, does not
    count as one of these.

    By default, gradients are enabled in training and disabled when predicting: there all contracts
    agree.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        channels: int = CHANNELS,
    ) -> None:
        self.module = module
        self.device, self.dtype = device, dtype  # of its inputs
        found = (channel_values(named_values(part)) for part in module.modules())
        values = [part for part in found if part is not None and part.channels == channels]
        self.gamma = next((part.gamma for part in values if part.gamma is not None), None)
        self.beta = next((part.beta for part in values if part.beta is not None), None)
        moving = MovingStatistics.find(module).values()
        self.moving = next((m for m in moving if m.tensors()[0].numel() == channels), None)

    def set_state(self, situation: Situation) -> None:
        """Give it a situation's gamma, beta and moving statistics, as far as it has them."""
        with torch.no_grad():
            for own, values in ((self.gamma, situation.gamma), (self.beta, situation.beta)):
                if own is not None:
                    own.copy_(values.reshape(own.shape).to(own.dtype))
        self.set_moving(situation.moving_mean, situation.moving_var)

    def set_moving(self, mean: Tensor, var: Tensor) -> None:
        """Give it moving statistics, of shape (C,), if it has any."""
        if self.moving is not None:
            self.moving.replace(mean, var)

    def forward(self, x: Tensor, *, training: bool, grad: bool | None = None) -> Tensor:
        """Return its output, after train() or eval() and with gradients enabled or not."""
        self.module.train(training)
        with torch.set_grad_enabled(training if grad is None else grad):
            y: Tensor = self.module(x)
        if y.layout != torch.strided or y.device != x.device:
            raise WrongOutput(f"forward returned a {y.layout} tensor on {y.device}")
        return y

    def run(self, situation: Situation, *, training: bool, grad: bool | None = None) -> Pass:
        """Run one pass. The input is no leaf of the graph, as if another layer had computed it."""
        grad = training if grad is None else grad
        leaf = self.own(situation.x).requires_grad_(grad)
        y = self.forward(leaf.clone() if grad else leaf, training=training, grad=grad)
        gradients = self._gradients(y, leaf, situation) if grad else {}
        return Pass(to_record(y), gradients, self.moving_values(), y.requires_grad)

    def _gradients(self, y: Tensor, leaf: Tensor, situation: Situation) -> dict[str, Tensor]:
        wanted = {"d_x": leaf, "d_gamma": self.gamma, "d_beta": self.beta}
        learned = {k: t for k, t in wanted.items() if t is not None and t.requires_grad}
        gradients: tuple[Tensor | None, ...] = (None,) * len(learned)
        if y.requires_grad:
            g = self.own(situation.g)
            gradients = torch.autograd.grad(y, list(learned.values()), g, allow_unused=True)
        values = {}
        for (name, tensor), gradient in zip(learned.items(), gradients, strict=True):
            value = to_record(torch.zeros_like(tensor) if gradient is None else gradient)
            values[name] = value if name == "d_x" else value.reshape(-1)
        return values

    def moving_values(self) -> dict[str, Tensor]:
        """Return the moving statistics, of shape (C,), if it has any."""
        if self.moving is None:
            return {}
        mean, var = self.moving.tensors()
        return {
            "moving_mean": to_record(mean).reshape(-1),
            "moving_var": to_record(var).reshape(-1),
        }

    def own(self, values: Tensor) -> Tensor:
        """Return a copy of values in the layer's dtype and on its device."""
        return values.to(self.dtype).to(self.device, copy=True)  # MPS accepts no float64


def _convert_attributes(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Convert tensors that are plain attributes, which `Module.to` leaves behind."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor) and value.is_floating_point():
                converted = value.detach().to(device, dtype).requires_grad_(value.requires_grad)
                setattr(part, name, converted)


def to_record(values: Tensor) -> Tensor:
    """Return a copy of values as records hold them: detached, on the CPU, in float64.

    It is a plain tensor: a subclass of the user's could not cross from the worker's process.
    """
    return values.as_subclass(Tensor).detach().cpu().double().clone()


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Return whether any value is another than before, in any bit."""
    return any(not torch.equal(before[name], after[name]) for name in before)
