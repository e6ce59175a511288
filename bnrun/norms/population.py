"""The statistics that norms predict with: moving, population, or a batch's own.

A norm trains with the statistics of its batch and predicts with a moving average of them. That
average is over batches that *earlier* weights produced. Ioffe & Szegedy (2015, Algorithm 2)
predict with population statistics instead, computed with the final weights.

Everything here works on the moving mean and variance that a norm keeps (see `introspection.py`):
a norm predicts with whatever is written there. So it works for any norm that has them.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnrun import kernels
from bnrun.norms.introspection import MovingNames, MovingStatistics, named_values
from bnrun.norms.reference import layout
from bnrun.norms.synchronized import gathered_statistics
from bnrun.processes import ALONE, Processes


class MergedStatistics:
    """Mean and variance per channel of all values so far, batch after batch, in float64.

    Batches are merged by the formula of Chan, Golub and LeVeque (1979, "Updating Formulae and a
    Pairwise Algorithm for Computing Sample Variances", equation 2.1). Each batch contributes its
    count, its mean and its sum of squares about that mean, so no large numbers are subtracted. The
    variance is the population's: it divides by the count.

    Attributes:
        count: values per channel so far.
        mean: of shape (C,) once there are any.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Merge the values of x, of shape (N, C, ...)."""
        if x.numel() > 0:
            self.merge(*channel_sums(x.detach()))

    def merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        """Merge what `channel_sums` returned."""
        if self.count == 0:
            self.count, self.mean, self._squares = count, mean, squares
            return
        total = self.count + count
        distance = mean - self.mean
        self._squares = self._squares + squares + distance.square() * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    def add_others(self, processes: Processes, channels: int) -> None:
        """Merge what the other processes have; `channels` is the length of the mean."""
        if not processes.is_distributed:
            return
        if self.count == 0:
            self.mean = self._squares = torch.zeros(channels, dtype=torch.float64)
        self.count, self.mean, self._squares = gathered_statistics(
            processes, self.count, self.mean, self._squares
        )

    @property
    def var(self) -> Tensor:
        """Return the variance, shape (C,)."""
        return self._squares / self.count


def channel_sums(x: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return the count per channel, its mean, and its sum of squares about that, in float64.

    Args:
        x: of shape (N, C, ...), detached.
    """
    over, per_channel, count = layout(x)
    if kernels.supports_batch_norm(x):
        return count, *kernels.batch_statistics(x)
    wide = x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)
    mean = wide.sum(over) / count
    return count, mean, (wide - mean.view(per_channel)).square().sum(over)


@contextlib.contextmanager
def predicting(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, without gradients, inside the block.

    Each module gets its own mode back: a part of a norm may be frozen in evaluation.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        model.train(modes[0][1])  # a user's `train` may do more than set the mode
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def preserving(
    model: nn.Module, learned: bool = True, names: MovingNames | None = None
) -> Iterator[dict[str, MovingStatistics]]:
    """Give the moving statistics of a model by path, and restore the model after the block.

    Every module gets the same tensors with the same values, and the same plain attributes, even
    where a user's norm counts or moves its statistics while it predicts. That includes tensors in
    lists and dicts. Other objects in them, such as modules, are put back and not copied.

    Args:
        model: to restore.
        learned: whether to copy what has gradients, too. No forward pass changes the weights of a
            network, and a large one has many.
        names: of the moving statistics, where they are not the usual ones.
    """
    before = [(module, named_values(module)) for module in model.modules()]
    parts = _parts(value for _, values in before for value in values.values())
    contents = [(part, part.copy()) for part in parts if not isinstance(part, Tensor)]
    copies = [
        (part, part.detach().clone())
        for part in parts
        if isinstance(part, Tensor) and (learned or not part.requires_grad)
    ]
    try:
        yield MovingStatistics.find(model, names)
    finally:
        for module, values in before:
            now = named_values(module)
            for name, value in values.items():
                if now.get(name) is not value:
                    setattr(module, name, value)
        for container, content in contents:
            _set_content(container, content)
        with torch.no_grad():
            for tensor, tensor_before in copies:
                if not torch.equal(tensor, tensor_before):  # writing would touch its graph
                    tensor.copy_(tensor_before)


def _parts(values: Iterable[Any]) -> list[Any]:
    """Return the tensors, lists and dicts that values consist of, at any depth, each once."""
    parts: dict[int, Any] = {}
    to_visit = list(values)
    while to_visit:
        part = to_visit.pop()
        if id(part) in parts or not isinstance(part, Tensor | list | dict | tuple):
            continue
        parts[id(part)] = part
        if not isinstance(part, Tensor):
            to_visit += part.values() if isinstance(part, dict) else part
    return [part for part in parts.values() if not isinstance(part, tuple)]


def _set_content(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)


def use_population(
    model: nn.Module,
    batches: Callable[[], Iterable[Tensor]],
    processes: Processes = ALONE,
    names: MovingNames | None = None,
) -> None:
    """Replace every norm's moving statistics by the exact ones of its input over all batches.

    The norms are handled in the order in which the model reaches them. The input of each is taken
    with those before it already predicting with population statistics, as they will later. So the
    result does not depend on how images are cut into batches, and an early norm costs only the
    first part of a forward pass. A norm that the model never reaches keeps what it has.

    Args:
        model: its norms' statistics are replaced; its mode stays.
        batches: called once for each norm, returns the model's inputs.
        processes: each takes some of the batches, in turns; all get the same statistics.
        names: of the moving statistics, where they are not the usual ones.
    """
    found = MovingStatistics.find(model, names)
    with predicting(model):
        for path, calls in _calls_in_order(model, found, next(iter(batches()))).items():
            merged = MergedStatistics()
            with _reading_input(found[path].module, merged.add, stop=calls == 1):
                for images in itertools.islice(batches(), processes.rank, None, processes.size):
                    with contextlib.suppress(_Stop):
                        model(images)
            merged.add_others(processes, found[path].tensors()[0].numel())
            found[path].replace(merged.mean, merged.var)


def unmoved_norms(model: nn.Module) -> list[str]:
    """Return the paths of norms whose moving mean is 0 and moving variance 1 in every channel.

    These are the values before training. After it, the norm does not update them.
    """
    return [
        path
        for path, moving in MovingStatistics.find(model).items()
        if not moving.tensors()[0].any() and bool((moving.tensors()[1] == 1).all())
    ]


@contextlib.contextmanager
def batch_statistics(model: nn.Module, names: MovingNames | None = None) -> Iterator[None]:
    """Let every norm that keeps moving statistics predict with those of the current batch."""
    with preserving(model, names=names) as found, contextlib.ExitStack() as hooks:
        for moving in found.values():
            hooks.enter_context(_reading_input(moving.module, _replacer(moving)))
        yield


def _replacer(moving: MovingStatistics) -> Callable[[Tensor], None]:
    def replace(x: Tensor) -> None:
        merged = MergedStatistics()
        merged.add(x)
        moving.replace(merged.mean, merged.var)

    return replace


class _Stop(BaseException):
    """Ends a forward pass early. A BaseException passes a user's `except Exception`."""


@contextlib.contextmanager
def _reading_input(
    module: nn.Module, read: Callable[[Tensor], None], *, stop: bool = False
) -> Iterator[None]:
    """Call `read` with a module's input before each of its calls; with `stop`, end the pass there.

    Raises:
        _Stop: with `stop`, out of the model's forward pass.
    """

    def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        read(next(value for value in (*inputs, *named.values()) if isinstance(value, Tensor)))
        if stop:
            raise _Stop

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _calls_in_order(
    model: nn.Module, found: dict[str, MovingStatistics], images: Tensor
) -> dict[str, int]:
    """Return how often a forward pass calls each norm, by path, in the order of the first calls."""
    calls: dict[str, int] = {}
    with contextlib.ExitStack() as hooks:
        for path, moving in found.items():
            hooks.enter_context(_reading_input(moving.module, _counter(calls, path)))
        model(images)
    return calls


def _counter(calls: dict[str, int], path: str) -> Callable[[Tensor], None]:
    def count(_: Tensor) -> None:
        calls[path] = calls.get(path, 0) + 1

    return count
