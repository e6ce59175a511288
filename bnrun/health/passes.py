"""Forward passes that watch norms and layers; the network comes out as it went in.

Nothing of a pass is kept but statistics by channel and a sample of each norm's output: memory is
that of the forward pass, and of the activations that are freed between two returns of memory. Each
batch is one call, so that work stops between two of them.
"""

import contextlib
import functools
import random
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bnrun.health.axes import Axes, find_axes
from bnrun.health.batches import Batch, tensors_in
from bnrun.health.evidence import CallStatistics, Layer, LayerKind, Mode, NormKind, Seen, Statistics
from bnrun.health.norm_places import Norm, as_record, device_of
from bnrun.norms.introspection import channel_values, named_values
from bnrun.norms.population import MergedStatistics, channel_sums, preserving
from bnrun.training.allocator import return_freed_memory
from bnrun.training.random_numbers import RandomNumbers, preserved_generators

SAMPLED = 512
"""Values of each norm's output, and of each output of the network, kept of a batch."""
RETURN_AFTER = 4 << 20
"""Bytes of norms' inputs after which freed memory is returned: what is kept of each norm lies
between freed activations, and would hold them. A network of 300 norms and 99 million parameters
took 1.6 GB, where a plain pass takes 0.92; now it takes 1.0."""
_DROPOUTS = (nn.modules.dropout._DropoutNd,)
_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_LINEAR = (nn.Linear, nn.Bilinear)
_BATCH_NORMS = (nn.functional.batch_norm, torch.batch_norm, torch.native_batch_norm)


class Stopped(BaseException):
    """Ends a forward pass early. A BaseException passes a user's `except Exception`."""


@contextlib.contextmanager
def preserved_random_numbers(device: torch.device) -> Iterator[None]:
    """Restore the states of the generators of torch, Python and NumPy at the end of the block."""
    numpy = sys.modules.get("numpy")
    states = random.getstate(), None if numpy is None else numpy.random.get_state()
    try:
        with preserved_generators(device):
            yield
    finally:
        random.setstate(states[0])
        if numpy is not None:
            numpy.random.set_state(states[1])


@contextlib.contextmanager
def restored(model: nn.Module, seed: int) -> Iterator[None]:
    """Restore a network's modes, statistics and random numbers at the end of the block.

    `requires_grad` comes back, too: an overridden `train` may freeze parameters.

    In the block, random numbers begin at `seed`, and there are no gradients.
    """
    device = device_of(model)
    modes = [(module, module.training) for module in model.modules()]
    learning = [(one, one.requires_grad) for one in model.parameters()]
    try:
        with (
            preserved_random_numbers(device),
            RandomNumbers(seed, device).in_use(),
            preserving(model, learned=False),
            torch.no_grad(),
        ):
            random.seed(seed)
            yield
    finally:
        for module, training in modes:
            module.training = training
        for one, learns in learning:
            one.requires_grad_(learns)


def call(model: nn.Module, batch: Batch) -> Any:
    """Return the network's output for a batch, which is moved to the network's device."""
    device = device_of(model)
    if any(one.device != device for one in batch.tensors()):
        batch = batch.mapped(lambda one: one.to(device))
    return model(*batch.arguments, **dict(batch.keywords))


@dataclass
class Watched:
    """What the passes of one mode have seen of one norm so far."""

    merged: MergedStatistics = field(default_factory=MergedStatistics)
    calls: list[CallStatistics] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)
    axes: Axes | None = None
    non_finite: list[int] = field(default_factory=lambda: [0, 0])
    is_called: bool = False
    alone_apart: float = 0.0

    def record(self) -> Seen | None:
        """Return what was seen, if anything was."""
        if self.merged.count == 0:
            return None
        merged = Statistics(
            self.merged.count, as_record(self.merged.mean), as_record(self.merged.var)
        )
        return Seen(merged, tuple(self.calls))


class Watch:
    """Follows the norms of a network through the passes of one mode.

    Attributes:
        by_norm: what was seen, by the norm's name.
        inside: the norm whose call has begun last: where a pass raises, it is there or behind.
    """

    def __init__(self, norms: Sequence[Norm], mode: Mode) -> None:
        self._norms, self._mode = norms, mode
        self.by_norm = {norm.name: Watched() for norm in norms}
        self.inside = ""
        self._batch = 0
        self._counts: dict[str, int] = {}
        self._bytes = 0
        self._returned = False
        self._measured = self._predicted = True

    def pass_batch(self, model: nn.Module, batch: Batch, index: int) -> Any:
        """Send a batch through the network, with hooks on its norms; return the output."""
        self._batch, self._counts = index, {}
        self._measured, self._predicted = batch.measured, batch.predicted
        self.inside = ""
        with contextlib.ExitStack() as hooks:
            for norm in self._norms:
                module = norm.module
                before = module.register_forward_pre_hook(self._before(norm), with_kwargs=True)
                hooks.callback(before.remove)
                after = module.register_forward_hook(self._after(norm), with_kwargs=True)
                hooks.callback(after.remove)
            output = call(model, batch)
        self._count_bytes(RETURN_AFTER if self._returned else 0)
        return output

    def _before(self, norm: Norm) -> Any:
        seen = self.by_norm[norm.name]

        def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            self.inside = norm.name
            seen.is_called = True
            x = next(tensors_in((inputs, named)), None)
            call_number = self._counts.get(norm.name, 0)
            self._counts[norm.name] = call_number + 1
            if x is None or norm.moving is None or x.numel() == 0:
                return
            x = _channels_second(x.detach(), norm.moving.tensors()[0].numel())
            if x is None:
                return
            count, mean, squares = _instance_sums(x) if norm.kind == "instance" else channel_sums(x)
            if self._measured:
                seen.merged.merge(count, mean, squares)
                statistics = Statistics(count, as_record(mean), as_record(squares / count))
                seen.calls.append(CallStatistics(self._batch, call_number, statistics))
            if self._mode == "batch" and count > 1:  # of one value, what follows would see 0 alone
                norm.moving.replace(mean, squares / count)

        return hook

    def _after(self, norm: Norm) -> Any:
        seen = self.by_norm[norm.name]

        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], y: Any) -> None:
            x = next(tensors_in((inputs, named)), None)
            if not isinstance(y, Tensor) or x is None:
                return
            self._count_bytes(x.nbytes if x.is_cpu else 0)
            if self._predicted:
                seen.samples.append(sample(y))
            if self._mode == "moving":
                for at, values in enumerate((x, y)):
                    seen.non_finite[at] += int((~torch.isfinite(values)).sum())
            if self._mode == "training" and self._batch == 0 and not norm.is_torch_class:
                seen.axes = seen.axes or _axes_of(module, norm.kind, x, y)
            if self._mode == "moving" and self._batch == 0 and _may_take_batch(norm):
                apart = alone_apart(_forward_of(module), Batch(inputs, named), y)
                seen.alone_apart = max(seen.alone_apart, apart)

        return hook

    def _count_bytes(self, count: int) -> None:
        """Return memory that was freed on the way, now and then: it takes milliseconds."""
        self._bytes += count
        if self._bytes >= RETURN_AFTER:
            self._bytes = 0
            self._returned = return_freed_memory()


def _may_take_batch(norm: Norm) -> bool:
    """Return whether a batch norm may predict with batch statistics by a formula of its own."""
    return norm.kind == "batch" and norm.moving is not None and not norm.is_torch_class


def _forward_of(module: nn.Module) -> Callable[[Batch], Any]:
    """Return a module's forward, without its hooks, as a function of a batch."""
    return lambda given: module.forward(*given.arguments, **dict(given.keywords))


def alone_apart(forward: Callable[[Batch], Any], batch: Batch, output: Any) -> float:
    """Return how far the output for the first example alone lies from that in its batch.

    It is in units of the output's deviation; 0 where a second pass gives another output, since
    something is random or counts its calls, and where one example alone raises.

    Args:
        forward: gives the output for a batch; it may write into its input.
        batch: of `output`.
        output: what it gave.
    """
    whole = [one for one in tensors_in(output) if one.is_floating_point() and one.dim()]
    examples = len(whole[0]) if whole else 0
    if examples < 2:
        return 0.0
    first = batch.mapped(lambda x: x[:1].clone() if x.dim() and len(x) == examples else x)
    try:
        again, alone = (
            [one for one in tensors_in(forward(given)) if one.is_floating_point() and one.dim()]
            for given in (batch.mapped(Tensor.clone), first)
        )
    except Exception:
        return 0.0
    if len(again) != len(whole) or not all(map(torch.equal, again, whole)):
        return 0.0
    apart = [
        float((one - y[:1]).double().square().mean().sqrt() / _spread(y))
        for one, y in zip(alone, whole, strict=False)
        if one.shape == y[:1].shape and len(y) == examples
    ]
    return max(apart, default=0.0)


def _spread(values: Tensor) -> Tensor:
    return values.double().std(correction=0).clamp_min(torch.finfo(torch.float32).tiny)


def _axes_of(module: nn.Module, kind: NormKind, x: Tensor, y: Tensor) -> Axes | None:
    own = named_values(module)
    values = channel_values(own)
    gamma, beta = (None, None) if values is None else (values.gamma, values.beta)
    if values is None:  # a LayerNorm over several dimensions
        gamma, beta = (own.get(name) for name in ("weight", "bias"))
    eps, groups = own.get("eps"), own.get("num_groups")
    return find_axes(
        x,
        y,
        gamma if isinstance(gamma, Tensor) else None,
        beta if isinstance(beta, Tensor) else None,
        eps if isinstance(eps, float) else 1e-5,
        groups if isinstance(groups, int) else 1,
        kind,
    )


def _channels_second(x: Tensor, channels: int) -> Tensor | None:
    """Return an input with its channels in dimension 1; None where it has none of that length."""
    if x.dim() >= 2 and x.shape[1] == channels:
        return x
    if x.dim() >= 2 and x.shape[-1] == channels:
        return x.movedim(-1, 1)
    return None


def _instance_sums(x: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return the count, the mean and the sum of squares that an instance norm averages.

    Each example has statistics of its own, and those are averaged.
    """
    examples, channels = x.shape[:2]
    count, mean, squares = channel_sums(x.reshape(1, examples * channels, *x.shape[2:]))
    mean, squares = (one.reshape(examples, channels) for one in (mean, squares))
    return count * examples, mean.mean(0), squares.sum(0)


def sample(values: Tensor) -> Tensor:
    """Return some of a tensor's values, always those at the same places, in float32."""
    flat = values.detach().reshape(-1)
    step = max(flat.numel() // SAMPLED, 1)
    return flat[::step][:SAMPLED].float().cpu().clone()


# ---- the structure


def observe_layers(model: nn.Module, norms: Sequence[Norm], batch: Batch) -> "Structure":
    """Send a batch through the network in its mode, and return its layers in the order of calls.

    A layer is a norm, or a module without modules in it.
    """
    structure = Structure(model, norms)
    with structure.watching():
        output = call(model, batch)
    structure.end(output)
    if structure.norms_by_hand:
        structure.alone_apart = alone_apart(lambda given: call(model, given), batch, output)
    return structure


class Structure:
    """The layers of a network as one forward pass calls them.

    Attributes:
        layers: facts of each, by name, in the order of the first calls.
        shapes: of the first input of each.
        norms_read: the norms whose moving statistics a function is given.
        norms_by_hand: the norms whose γ or β alone a function is given, and that are not called.
        norms_of_batch: the norms whose γ, β or moving statistics a batch norm function is given,
            with training=True.
        norms_in_training: the norms that are in training mode at the end of the pass.
        alone_apart: see there, of the network's output; 0 where no norm is applied by hand.
    """

    alone_apart = 0.0

    def __init__(self, model: nn.Module, norms: Sequence[Norm]) -> None:
        self._model = model
        self._all_norms = norms
        self._norm_of = {id(one): norm.name for norm in norms for one in _own_tensors(norm)}
        self._moving = {
            id(one) for norm in norms if norm.moving is not None for one in norm.moving.tensors()
        }
        self.norms_read: set[str] = set()
        self.norms_by_hand: set[str] = set()
        self.norms_of_batch: set[str] = set()
        self.norms_in_training: set[str] = set()
        of_norms = {id(norm.module): norm.name for norm in norms}
        self._watched = {
            name: module
            for name, module in model.named_modules()
            if of_norms.get(id(module)) == name or not any(module.children())
        }
        self._norms = {norm.name for norm in norms}
        self._made: dict[int, tuple[weakref.ref[Tensor], int, str]] = {}
        self._under_way: list[_Call] = []
        self.layers: dict[str, dict[str, Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Follow the layers inside the block."""
        with contextlib.ExitStack() as hooks:
            for name, module in self._watched.items():
                # Also where a layer raises, which a network may catch.
                leave = module.register_forward_hook(
                    self._leave(name), with_kwargs=True, always_call=True
                )
                hooks.callback(leave.remove)
                enter = module.register_forward_pre_hook(self._enter(name), with_kwargs=True)
                hooks.callback(enter.remove)
            hooks.enter_context(_FunctionReads(self))
            yield

    def call_function(self, func: Callable[[], Any], given: Iterable[Tensor]) -> Any:
        """Call a function, and note what it reads: outside of layers, and not to make a view of it.

        Reading a number of a tensor, such as its shape, makes no tensor.
        """
        if self._under_way:
            return func()
        # Looked up before: a function that writes into a tensor (`y += z`) reads it, too.
        read = [(whole, name) for one in given if (name := self._maker(whole := _whole(one)))]
        versions = [_version(whole) for whole, _ in read]
        made = func()
        results = list(tensors_in(made))
        bases = {id(_whole(one)) for one in results}
        for (whole, name), version in zip(read, versions, strict=True):
            if results and (id(whole) not in bases or _version(whole) != version):
                self.layers[name]["is_read_otherwise"] = True
        return made

    def note_norms(self, given: Iterable[Tensor], *, takes_batch: bool) -> None:
        """Note which norms' tensors a function was given, by whatever module it was called."""
        own = [id(one) for one in given if id(one) in self._norm_of]
        self.norms_read |= {self._norm_of[one] for one in own if one in self._moving}
        self.norms_by_hand |= {self._norm_of[one] for one in own}
        if takes_batch:
            self.norms_of_batch |= {self._norm_of[one] for one in own}

    def _enter(self, name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            given = list(tensors_in((inputs, named)))
            reads: list[str] = []
            parts: list[str] = []
            for one in given:
                maker = self._maker(one)
                (reads if maker else parts).append(maker or self._maker(_whole(one)))
            shape = tuple(given[0].shape) if given else ()
            self._under_way.append(_Call(name, reads, parts, shape, sys.exception()))

        return hook

    def _leave(self, name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if not self._under_way or self._under_way[-1].name != name:
                return  # an earlier hook of the layer has raised
            call = self._under_way.pop()
            if sys.exception() is not call.handled:
                return  # it has raised: nothing comes of what it read
            made = list(tensors_in(output))
            facts = self.layers.setdefault(
                name,
                {"calls": 0, "reads": [], "finite": True, "shape": ()}
                | {"is_output": False, "is_read_otherwise": False},
            )
            if not facts["calls"]:
                facts["shape"] = tuple(made[0].shape) if made else ()
                self.shapes[name] = call.shape
            facts["calls"] += 1
            facts["reads"] += call.reads
            self._note_parts(call.parts)
            facts["finite"] &= all(bool(torch.isfinite(one).all()) for one in made)
            for one in made:
                self._made[id(one)] = (weakref.ref(one), _version(one), name)

        return hook

    def _note_parts(self, makers: Iterable[str]) -> None:
        """Note that a part of these layers' outputs is read, or all of it in another order."""
        for maker in filter(None, makers):
            self.layers[maker]["is_read_otherwise"] = True

    def _maker(self, tensor: Tensor) -> str:
        """Return the layer whose output a tensor, or what it is a view of, is; "" for no layer.

        A tensor that was written into since is of no layer (`x += y`), nor is a view of a part, or
        one in another order, such as a transposed one.
        """
        for one in (tensor, tensor._base):
            if one is None or one.numel() != tensor.numel():
                continue
            alive, version, name = self._made.get(id(one), (None, 0, ""))
            is_whole = one is tensor or (one.is_contiguous() and tensor.is_contiguous())
            if alive is not None and alive() is one and _version(one) == version and is_whole:
                return name
        return ""

    def end(self, output: Any) -> None:
        """Note which layers made the network's output, and the modes that the pass leaves."""
        self.norms_in_training = {norm.name for norm in self._all_norms if norm.module.training}
        self.norms_by_hand -= self.norms_read | set(self.layers)
        self.norms_by_hand &= {norm.name for norm in self._all_norms if norm.moving is not None}
        for one in tensors_in(output):
            maker = self._maker(one)
            if maker:
                self.layers[maker]["is_output"] = True
            else:
                self._note_parts([self._maker(_whole(one))])

    def calls(self, name: str) -> int:
        """Return how often a layer was called."""
        return int(self.layers[name]["calls"]) if name in self.layers else 0

    def dropouts_before(self, name: str) -> tuple[str, ...]:
        """Return the layers that drop values and ran before another one, in their order."""
        before = []
        for one in self.layers:
            if one == name:
                break
            if _dropout(self._watched[one]) > 0:
                before.append(one)
        return tuple(before)

    def records(
        self, after_train: Mapping[str, bool], after_eval: Mapping[str, bool]
    ) -> tuple[Layer, ...]:
        """Return the layers in the order of their first calls."""
        return tuple(
            Layer(
                name=name,
                class_name=f"{type(module).__module__}.{type(module).__qualname__}",
                kind="norm" if name in self._norms else _kind(module),
                has_bias=isinstance(getattr(module, "bias", None), Tensor),
                dropout=_dropout(module),
                reads=tuple(dict.fromkeys(facts["reads"])),
                is_output=facts["is_output"],
                is_read_otherwise=facts["is_read_otherwise"],
                learns=any(one.requires_grad for one in module.parameters(recurse=False)),
                training_after_train=after_train.get(name, True),
                training_after_eval=after_eval.get(name, False),
                calls=facts["calls"],
                output_shape=facts["shape"],
                finite=facts["finite"],
            )
            for name, facts in self.layers.items()
            for module in (self._watched[name],)
        )


@dataclass(frozen=True)
class _Call:
    """A call of a layer that is under way, as it began: a layer may write into its input.

    Attributes:
        name: of the layer.
        reads: the layers whose outputs it is given.
        parts: the layers of whose outputs it is given something else, such as a part.
        shape: of its first input; () without one.
        handled: the exception that was being handled.
    """

    name: str
    reads: Sequence[str]
    parts: Sequence[str]
    shape: tuple[int, ...]
    handled: BaseException | None


class _FunctionReads(TorchFunctionMode):
    """Calls each function of torch through a structure."""

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self._structure = structure

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function."""
        kwargs = kwargs or {}
        called = functools.partial(func, *args, **kwargs)
        given = list(tensors_in((args, kwargs)))
        made = self._structure.call_function(called, given)
        if next(tensors_in(made), None) is not None:  # reading a shape or a device uses no values
            takes_batch = func in _BATCH_NORMS and _is_in_training(args, kwargs)
            self._structure.note_norms(given, takes_batch=takes_batch)
        return made


def _is_in_training(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a batch norm function is called with training=True, its sixth argument."""
    return bool(args[5] if len(args) > 5 else kwargs.get("training", False))


def _own_tensors(norm: Norm) -> Iterator[Tensor]:
    """Yield a norm's parameters and moving statistics."""
    yield from norm.module.parameters(recurse=False)
    if norm.moving is not None:
        yield from norm.moving.tensors()


def _whole(tensor: Tensor) -> Tensor:
    """Return the tensor that a view is of, and any other tensor itself."""
    return tensor if tensor._base is None else tensor._base


def _version(tensor: Tensor) -> int:
    """Return how often a tensor was written into; 0 where that is not counted."""
    return 0 if tensor.is_inference() else tensor._version


def _kind(module: nn.Module) -> LayerKind:
    if isinstance(module, _CONVOLUTIONS):
        return "convolution"
    if isinstance(module, _LINEAR):
        return "linear"
    if isinstance(module, _DROPOUTS):
        return "dropout"
    own = type(module).__module__ == "torch.nn.modules.activation"
    return "activation" if own else "other"


def _dropout(module: nn.Module) -> float:
    """Return the probability that a dropout layer drops with; 0 for any other layer."""
    p = getattr(module, "p", None)
    return float(p) if isinstance(module, _DROPOUTS) and isinstance(p, float | int) else 0.0
