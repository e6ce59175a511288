"""The statistics with which norms predict: moving, population, or a batch's own.

A norm trains with the statistics of its batch and predicts with a moving average of them. That
average is made of batches that *earlier* weights saw. Ioffe & Szegedy (2015, Algorithm 2) predict
with population statistics instead, taken with the final weights.

All of it works through the moving mean and variance that a norm keeps (see `parts.py`): whatever
a norm predicts with, it predicts with what is written there. So it serves any norm that has them.
"""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.norms.introspection import MovingStatistics, values_of
from bnrun.norms.reference import layout


class Merged:
    """Mean and variance per channel of all values seen, batch after batch, in float64.

    Batches are merged by Chan, Golub and LeVeque's formula (1979, "Updating Formulae and a
    Pairwise Algorithm for Computing Sample Variances", equation 2.1): each brings its count, its
    mean and its sum of squares about that mean, so nothing large is ever subtracted from
    something large. The variance is the population's: it divides by the count.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Count the values of x, of shape (N, C, ...)."""
        if x.numel() == 0:
            return
        wide = x.detach().to("cpu" if x.device.type == "mps" else x.device, torch.float64)
        over, per_channel, count = layout(wide)
        mean = wide.sum(over) / count
        squares = (wide - mean.view(per_channel)).square().sum(over)
        if self.count == 0:
            self.count, self.mean, self._squares = count, mean, squares
            return
        total = self.count + count
        distance = mean - self.mean
        self._squares = self._squares + squares + distance.square() * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    @property
    def var(self) -> Tensor:
        """Return the variance, shape (C,)."""
        return self._squares / self.count


@contextlib.contextmanager
def predicting(model: nn.Module) -> Iterator[None]:
    """Let a model predict: in evaluation mode, and without gradients.

    Each module has its own mode back afterwards: a part of a norm may be frozen in evaluation.
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
def restored(model: nn.Module) -> Iterator[dict[str, MovingStatistics]]:
    """Give the moving statistics of a model, by path, and leave the model as it was afterwards.

    Every module holds the same tensors again, with the same values, and the same plain attributes:
    also where a norm of the user's counts or moves while it predicts.
    """
    before = [(module, values_of(module)) for module in model.modules()]
    contents = [
        (value, copy.deepcopy(value))
        for _, values in before
        for value in values.values()
        if isinstance(value, list | dict)
    ]
    copies = [
        (value, value.detach().clone())
        for _, values in before
        for value in values.values()
        if isinstance(value, Tensor)
    ]
    try:
        yield MovingStatistics.find(model)
    finally:
        for module, values in before:
            now = values_of(module)
            for name, value in values.items():
                if now.get(name) is not value:
                    setattr(module, name, value)
        for value, content in contents:
            value.clear()
            value.extend(content) if isinstance(value, list) else value.update(content)
        with torch.no_grad():
            for tensor, values_before in copies:
                if not torch.equal(tensor, values_before):  # else its graph need not know
                    tensor.copy_(values_before)


def use_population(model: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> None:
    """Replace every norm's moving statistics by the exact ones of its input over all batches.

    Norm by norm, in the order in which the model reaches them: the input of each is taken with
    those before it already predicting with population statistics, as they will. So the result
    does not depend on how images are cut into batches, and an early norm costs but the first
    part of a forward pass. A norm that the model never reaches keeps what it has.

    Args:
        model: its norms' statistics are replaced; its mode stays.
        batches: returns the model's inputs, anew for each norm.
    """
    found = MovingStatistics.find(model)
    with predicting(model):
        for path, calls in _in_order(model, found, next(iter(batches()))).items():
            merged = Merged()
            with _before(found[path].module, merged.add, stop=calls == 1):
                for images in batches():
                    with contextlib.suppress(_Stop):
                        model(images)
            found[path].replace(merged.mean, merged.var)


def never_moved(model: nn.Module) -> list[str]:
    """Return the paths of norms whose moving mean is 0 and moving variance 1 in every channel.

    So they are before training. After it, a norm that should move them does not.
    """
    return [
        path
        for path, moving in MovingStatistics.find(model).items()
        if not moving.held()[0].any() and bool((moving.held()[1] == 1).all())
    ]


@contextlib.contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let every norm with moving statistics predict with those of the batch at hand."""
    with restored(model) as found, contextlib.ExitStack() as hooks:
        for moving in found.values():
            hooks.enter_context(_before(moving.module, _writer(moving)))
        yield


def _writer(moving: MovingStatistics) -> Callable[[Tensor], None]:
    def write(x: Tensor) -> None:
        merged = Merged()
        merged.add(x)
        moving.replace(merged.mean, merged.var)

    return write


class _Stop(BaseException):
    """The forward pass has come as far as it must: past a user's `except Exception`, too."""


@contextlib.contextmanager
def _before(
    module: nn.Module, look: Callable[[Tensor], None], *, stop: bool = False
) -> Iterator[None]:
    """Look at a module's input each time before it runs; with `stop`, run no further."""

    def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        look(next(value for value in (*inputs, *named.values()) if isinstance(value, Tensor)))
        if stop:
            raise _Stop

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _in_order(
    model: nn.Module, found: dict[str, MovingStatistics], images: Tensor
) -> dict[str, int]:
    """Return the paths of the norms that a forward pass reaches, in order, and how often."""
    reached: dict[str, int] = {}
    with contextlib.ExitStack() as hooks:
        for path, moving in found.items():
            hooks.enter_context(_before(moving.module, _noter(reached, path)))
        model(images)
    return reached


def _noter(reached: dict[str, int], path: str) -> Callable[[Tensor], None]:
    def note(_: Tensor) -> None:
        reached[path] = reached.get(path, 0) + 1

    return note
