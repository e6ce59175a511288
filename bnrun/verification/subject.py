"""The norm under test: built anew for each experiment, given a state, run, and read out."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnrun.norms import NormFactory
from bnrun.norms.introspection import MovingStatistics, channel_values, named_values
from bnrun.norms.user_module import WrongOutput
from bnrun.verification.fault import Family
from bnrun.verification.formula.families import Ways, ways_of
from bnrun.verification.reading import Reading, initial_eps, read
from bnrun.verification.situations import (
    GROUPS,
    LAST_LAYOUTS,
    LAYOUTS,
    MAIN_RANKS,
    RANKS,
    Situation,
    channels_of,
    make_situation,
    plain,
    shape_of,
)


class NotOffered(Exception):
    """The norm does not offer what an experiment is about; the message says what."""


class Misaligned(Exception):
    """Moving statistics lie along the last dimension of x; the cause is the error that follows."""


class NotInspected(BaseException):
    """bnrun itself could not read the layer, or set its state: that is not the layer's fault.

    No `except Exception` of an experiment takes it for an error of the layer.
    """


@contextlib.contextmanager
def inspecting() -> Iterator[None]:
    """Turn any error in a block, which runs none of the norm's methods, into NotInspected."""
    try:
        yield
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise NotInspected(f"{type(error).__name__}: {first}") from error


class Record:
    """Base of the records that experiments return.

    Each is a frozen dataclass of plain values, lists and dicts, other records, and tensors in
    float64 on the CPU. So it can cross from the process that runs the norm.
    """


@dataclass(frozen=True)
class Construction(Record):
    """How layers of a class are built for a family, and in which layout they take inputs.

    Everywhere else, inputs and outputs have the shape (N, C, ...).

    Attributes:
        family: of norms.
        last: whether the class takes its channels as the last dimension: (N, ..., C).
        as_shape: whether the constructor gets the channels as a tuple, (C,).
        options: arguments of the constructor, beside those of the user.
        groups: of channels, in a group normalization; 0 where that is not known yet.
        width: the number of channels; 0 means the usual one of the family.
        asked: the ranks of input that the user asks about; none for all of the family.
        rank: the highest rank that it was found to take, where images are not what it is for.
    """

    family: Family = "batch"
    last: bool = False
    as_shape: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    groups: int = GROUPS
    width: int = 0
    asked: tuple[int, ...] = ()
    rank: int = 4

    @property
    def inputs(self) -> dict[str, Any]:
        """Return what decides which inputs a situation has, by the names of arguments."""
        return {"family": self.family, "channels": self.width}

    @property
    def channels(self) -> int:
        """Return how many channels its inputs have."""
        return channels_of(self.family, self.width)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks of input, that of experiments which need any one first."""
        ranks = RANKS
        if self.family != "batch":
            least = 3 if self.family == "instance" else 2  # which needs positions
            ranks = (*dict.fromkeys((*self._usual_ranks, *range(4, least - 1, -1), 5)),)
        return tuple(rank for rank in ranks if rank in (self.asked or ranks))

    @property
    def main_ranks(self) -> tuple[int, ...]:
        """Return the ranks that a class of the family is expected to take, or to refuse."""
        return self.ranks if self.asked else self._usual_ranks

    @property
    def _usual_ranks(self) -> tuple[int, ...]:
        if self.family == "batch":
            return MAIN_RANKS
        return (3, 2) if self.last and self.family in ("layer", "rms") else (self.rank,)

    @property
    def layouts(self) -> dict[int, str]:
        """Return the layouts of inputs by their rank."""
        return LAST_LAYOUTS if self.last else LAYOUTS

    def shape(self, rank: int) -> tuple[int, ...]:
        """Return the shape, (N, C, ...), of an ordinary input."""
        return shape_of(rank, self.family, self.width)

    def ways(self, dtype: torch.dtype) -> Ways:
        """Return the ways to compute each part, the right one first."""
        return ways_of(
            self.family, dtype, last=self.last, groups=self.groups, channels=self.channels
        )

    def given(self, x: Tensor) -> Tensor:
        """Return (N, C, ...) in the layout of the class."""
        return x.movedim(1, -1) if self.last else x

    def all_given(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return quantities by name, those of the shape (N, C, ...) in the layout of the class."""
        return {
            name: self.given(one) if name in ("y", "d_x") else one for name, one in values.items()
        }

    def taken(self, y: Tensor) -> Tensor:
        """Return what is in the layout of the class as (N, C, ...)."""
        return y.movedim(-1, 1) if self.last else y


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
        takes_rank: the parameter by which the class asks for the rank of its input, or ""; with
            one, it must accept 2 and 4.
        device, dtype: of its layers, and of their inputs.
        construction: how they are built.
        affine: the value of the constructor's option for gamma and beta, given or by default;
            None where it has none.
    """

    def __init__(
        self,
        factory: NormFactory,
        takes_rank: str,
        device: torch.device,
        dtype: torch.dtype,
        construction: Construction = Construction(),
        affine: bool | None = None,
    ) -> None:
        self.takes_rank, self.device, self.dtype = takes_rank, device, dtype
        self.construction, self.affine = construction, affine
        self._factory = factory
        self._accepts: dict[int, bool] = {}
        self._has_read = False
        self._eps_read: float | None = None

    @functools.cached_property
    def cls(self) -> type[nn.Module]:
        """Return the class of its layers."""
        return type(self.new(self.construction.channels, self.construction.ranks[0]))

    def new(self, channels: int | tuple[int, ...], rank: int, **options: Any) -> nn.Module:
        """Build a layer, as it is made by the constructor; `channels` may be a normalized shape.

        Raises:
            NormError: the constructor refuses.
        """
        one = self.construction
        is_number = isinstance(channels, int)
        features: Any = (channels,) if one.as_shape and is_number else channels
        return self._factory(features, rank, **{**dict(one.options), **options})

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
        usual = self.construction.channels
        channels = usual if situation is None else situation.x.shape[1]
        dtype = dtype or self.dtype
        module = self.new(channels, rank, **options).to(self.device, dtype)
        if _has_lazy(module):
            like = make_situation((2, channels, *[2] * (rank - 2)), dtype)
            _initialize(module, self.construction.given(like.x).to(dtype).to(self.device))
        _convert_attributes(module, self.device, dtype)
        layer = Layer(module, self.device, dtype, self.construction, channels)
        if channels != usual:
            # With one channel, a value shared by all, or a convolution's, looks like a gamma.
            has_gamma, has_beta = self._has
            layer.gammas = layer.gammas if has_gamma else []
            layer.betas = layer.betas if has_beta else []
        if situation is not None:
            layer.set_state(situation)
        if not layer.statistics and self.construction.family == "batch":
            examples, _, *positions = self.construction.shape(rank)
            shape = (examples, channels, *positions)
            layer.reads = functools.partial(self._read, make_situation(shape, dtype), layer)
        return layer

    def eps_read(self) -> float | None:
        """Return eps, if moving statistics without a known name can be read from predictions."""
        if not self._has_read and self.construction.family == "batch":
            self._has_read = True  # before what follows, which reads, too
            if self.dtype == torch.float64:
                self._eps_read = self._measured_eps()
        return self._eps_read

    def _measured_eps(self) -> float | None:
        situation = self.situation(plain)
        layer = self.build(self.rank, situation)
        if layer.statistics:
            return None
        try:
            before = layer.predicted(situation)
            layer.forward(layer.own(situation.x), training=True)
            return initial_eps(before, layer.predicted(situation))
        except Exception:
            return None

    def _read(self, situation: Situation, layer: "Layer") -> dict[str, Tensor]:
        """Return the moving statistics of a layer that shows them in its predictions alone."""
        eps = self.eps_read()
        reading = None if eps is None else layer.predicted(situation)
        if eps is None or reading is None:
            return {}
        return {"moving_mean": reading[0], "moving_var": reading[1] - eps}

    def situation(self, kind: Callable[..., Situation], rank: int | None = None) -> Situation:
        """Return a situation of a kind, for inputs of a rank."""
        rank = self.rank if rank is None else rank
        return kind(rank, self.dtype, **self.construction.inputs)

    def run(
        self, situation: Situation, *, training: bool, grad: bool | None = None, **options: Any
    ) -> Pass:
        """Build a layer, give it a situation's state, and run one pass."""
        layer = self.build(situation.x.dim(), situation, **options)
        return layer.run(situation, training=training, grad=grad)

    def output(self, situation: Situation, **options: Any) -> Tensor:
        """Build a layer, give it a situation's state, and return its output in training."""
        layer = self.build(situation.x.dim(), situation, **options)
        return layer.record(layer.forward(layer.own(situation.x), training=True))

    def layer(self, module: nn.Module, dtype: torch.dtype | None = None) -> "Layer":
        """Return a module of the class, built already, as a layer."""
        return Layer(module, self.device, dtype or self.dtype, self.construction)

    @functools.cached_property
    def _has(self) -> tuple[bool, bool]:
        """Return whether the class has a gamma, and a beta, with a value for each channel."""
        layer = self.build(self.rank)
        return layer.gamma is not None, layer.beta is not None

    @property
    def rank(self) -> int:
        """Return the rank for experiments that need any one: the first that is accepted."""
        ranks = self.construction.ranks
        return next(filter(self.accepts, ranks), ranks[0])

    @property
    def main_ranks(self) -> list[int]:
        """Return the main ranks that are accepted, or the one other rank that is."""
        return [rank for rank in self.construction.main_ranks if self.accepts(rank)] or [self.rank]

    def accepts(self, rank: int) -> bool:
        """Return whether a pass forward and backward in training works for inputs of a rank."""
        if rank not in self._accepts:
            try:
                self.run(self.situation(plain, rank), training=True)
                self._accepts[rank] = not self.takes_one_example(rank)
            except Exception:
                self._accepts[rank] = False
        return self._accepts[rank]

    def accept(self, rank: int) -> None:
        """Note that such a pass has worked."""
        self._accepts[rank] = True

    def takes_one_example(self, rank: int) -> bool:
        """Return whether inputs of a rank count as one example, without a batch.

        So they do in PyTorch's instance norms: (N, C, L) is then an image, (C, H, W).
        """
        if self.construction.family != "instance":
            return False
        situation = self.situation(plain, rank)
        layer = self.build(rank, situation)
        x = layer.own(situation.x)
        try:
            one, of_batch = (layer.forward(values, training=True) for values in (x, x[None]))
        except Exception:
            return False
        return torch.equal(one, of_batch[0])

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
    count as one of these. A layer may hold several others and pick one by its input: all of them
    are given the same state.

    By default, gradients are enabled in training and disabled when predicting: there all contracts
    agree.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        construction: Construction,
        channels: int | None = None,
    ) -> None:
        self.module = module
        self.device, self.dtype = device, dtype  # of its inputs
        self.construction = construction
        channels = construction.channels if channels is None else channels
        self.reads: Callable[[], dict[str, Tensor]] = dict
        with inspecting():
            named = [(part, named_values(part)) for part in module.modules()]
            found = (channel_values(own) for _, own in named)
            values = [part for part in found if part is not None and part.channels == channels]
            self.gammas = _each_once(part.gamma for part in values)
            self.betas = _each_once(part.beta for part in values)
            if construction.family != "batch":
                self._find_by_start(channels)
            moving = (MovingStatistics.of(part, own) for part, own in named)
            self.statistics = [m for m in moving if m and m.tensors()[0].numel() == channels]
            self._given = _copies(self.statistics)

    def _find_by_start(self, channels: int) -> None:
        """Take parameters of other names, that start at 1 or 0, for a gamma or beta it lacks."""
        others = [
            one
            for one in self.module.parameters()
            if one.numel() == channels and all(one is not t for t in (*self.gammas, *self.betas))
        ]
        for found, start in ((self.gammas, 1), (self.betas, 0)):
            found += [one for one in others if not found and bool((one == start).all())]

    @property
    def gamma(self) -> Tensor | None:
        """Return the first gamma, if it has any."""
        return next(iter(self.gammas), None)

    @property
    def beta(self) -> Tensor | None:
        """Return the first beta, if it has any."""
        return next(iter(self.betas), None)

    @property
    def moving(self) -> MovingStatistics | None:
        """Return its moving statistics, if it has any: of several, the first that have moved."""
        for one, given in zip(self.statistics, self._given, strict=False):
            now = zip(one.tensors(), given, strict=True)
            if not all(torch.equal(own, before) for own, before in now):
                return one
        return next(iter(self.statistics), None)

    def set_state(self, situation: Situation) -> None:
        """Give it a situation's gamma, beta and moving statistics, as far as it has them."""
        with inspecting(), torch.no_grad():
            for owned, values in ((self.gammas, situation.gamma), (self.betas, situation.beta)):
                for own in owned:
                    own.copy_(values.reshape(own.shape).to(own.dtype))
        self.set_moving(situation.moving_mean, situation.moving_var)

    def set_moving(self, mean: Tensor, var: Tensor) -> None:
        """Give it moving statistics, of shape (C,), if it has any."""
        for one in self.statistics:
            one.replace(mean, var)
        self._given = _copies(self.statistics)

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
        return self.begin(situation, training=training, grad=grad)()

    def begin(
        self, situation: Situation, *, training: bool, grad: bool | None = None
    ) -> Callable[[], Pass]:
        """Run a pass forward; return what runs it backward, and reads it out."""
        grad = training if grad is None else grad
        leaf = self.own(situation.x).requires_grad_(grad)
        y = self.forward(leaf.clone() if grad else leaf, training=training, grad=grad)

        def finish() -> Pass:
            gradients = self._gradients(y, leaf, situation) if grad else {}
            return Pass(self.record(y), gradients, self.moving_values(), y.requires_grad)

        return finish

    def _gradients(self, y: Tensor, leaf: Tensor, situation: Situation) -> dict[str, Tensor]:
        wanted = {"d_x": [leaf], "d_gamma": self.gammas, "d_beta": self.betas}
        learned = [(name, t) for name, owned in wanted.items() for t in owned if t.requires_grad]
        gradients: tuple[Tensor | None, ...] = (None,) * len(learned)
        if y.requires_grad:
            g = self.own(situation.g)
            gradients = torch.autograd.grad(y, [t for _, t in learned], g, allow_unused=True)
        values: dict[str, Tensor] = {}
        for (name, tensor), gradient in zip(learned, gradients, strict=True):
            value = to_record(torch.zeros_like(tensor) if gradient is None else gradient)
            value = self.construction.taken(value) if name == "d_x" else value.reshape(-1)
            # All gammas have the same value: the gradient of that is the sum of theirs.
            values[name] = values[name] + value if name in values else value
        return values

    def moving_values(self) -> dict[str, Tensor]:
        """Return the moving statistics, of shape (C,), if it has any: by name, or as predicted."""
        with inspecting():
            moving = self.moving
            if moving is not None:
                mean, var = (to_record(values).reshape(-1) for values in moving.tensors())
                return {"moving_mean": mean, "moving_var": var}
        return self.reads()

    def predicted(self, situation: Situation) -> Reading | None:
        """Return the moving statistics that its predictions show, whatever they are called."""
        y = self.record(self.forward(self.own(situation.x), training=False))
        gamma, beta = (
            start if own is None else to_record(own).reshape(-1)
            for own, start in (
                (self.gamma, torch.ones_like(situation.gamma)),
                (self.beta, torch.zeros_like(situation.beta)),
            )
        )
        return read(situation.x, y, gamma, beta)

    def own(self, values: Tensor) -> Tensor:
        """Return a copy of (N, C, ...) as the layer takes it: its layout, dtype and device."""
        given = self.construction.given(values.to(self.dtype))  # MPS accepts no float64
        return given.to(self.device, copy=True).contiguous()

    def record(self, y: Tensor) -> Tensor:
        """Return a copy of an output as records hold it, of shape (N, C, ...)."""
        return self.construction.taken(to_record(y))


def _has_lazy(module: nn.Module) -> bool:
    values = (
        one
        for part in module.modules()
        for one in (*part._parameters.values(), *part._buffers.values())
    )
    return any(one is not None and is_lazy(one) for one in values)


def _initialize(module: nn.Module, x: Tensor) -> None:
    """Let lazy parameters, which have no shape before the first batch, come into being.

    Predicting moves no statistics. An input that the class refuses initializes it, too.
    """
    module.eval()
    with contextlib.suppress(Exception), torch.no_grad():
        module(x)
    module.train()


def _each_once(values: Iterable[Tensor | None]) -> list[Tensor]:
    return list({id(value): value for value in values if value is not None}.values())


def _copies(statistics: Sequence[MovingStatistics]) -> list[list[Tensor]]:
    """Return copies of each mean and variance, by which to see which have moved; of one, none."""
    if len(statistics) < 2:
        return []
    return [[tensor.detach().clone() for tensor in one.tensors()] for one in statistics]


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
