"""The steps of an epoch, in the two ways that they can be executed.

    steps.begin(order)
    for step in range(count):
        steps.fetch(step)
        steps.take(step)

Both read the batches of `order` from a split that lies on the device, and leave each step's mean
loss in `steps.losses` and its count of right answers in `steps.corrects`, on the device.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bnrun.data.dataset import Split
from bnrun.training.checkpoint import capture, restore
from bnrun.training.optimizer import SGD
from bnrun.training.step import Phase, nothing, train_step

WARM_UP_STEPS = 3  # before a capture: libraries make themselves ready, and must not be captured


class Steps(Protocol):
    """Takes the steps of an epoch; its optimizer's `lr` is read at each."""

    losses: Tensor
    corrects: Tensor

    def begin(self, order: Tensor) -> None:
        """Begin an epoch, whose images come in this order."""

    def fetch(self, step: int) -> None:
        """Have the batch of a step there; steps are counted from 0, and come one by one."""

    def take(self, step: int, done: Callable[[Phase], None] = nothing) -> None:
        """Train on it; `done` hears of the end of each phase, where there are any."""


class PlainSteps:
    """One operation after another is given to the device, as Python comes to it."""

    def __init__(self, model: nn.Module, optimizer: SGD, train: Split, batch_size: int) -> None:
        self._model, self._optimizer = model, optimizer
        self._train, self._batch_size = train, batch_size
        self._dtype = next(model.parameters()).dtype
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._batch: tuple[Tensor, Tensor] | None = None
        self.losses, self.corrects = _results(model, train, batch_size)

    def begin(self, order: Tensor) -> None:
        """Begin an epoch."""
        self._batches = self._train.batches(self._batch_size, order)

    def fetch(self, step: int) -> None:
        """Look the batch up."""
        images, labels = next(self._batches)
        self._batch = images.to(self._dtype), labels

    def take(self, step: int, done: Callable[[Phase], None] = nothing) -> None:
        """Train on it."""
        assert self._batch is not None
        self.losses[step], self.corrects[step] = train_step(
            self._model, self._optimizer, *self._batch, done
        )


class CapturedSteps:
    """A whole step is one CUDA graph, batch and optimizer included: launched by one call.

    LeNet has some hundred small kernels a step, each of which the GPU finishes sooner than Python
    can launch the next. A graph is recorded once for whole batches, and once for the smaller last
    one; what changes from step to step it reads from the device: the order of the images, its
    place in it, the learning rate.

    Whatever a module does to its state by assigning a new tensor, as the textbook's layer does,
    is recorded once and not repeated: `engine.py` finds that out, and keeps away.
    """

    def __init__(self, model: nn.Module, optimizer: SGD, train: Split, batch_size: int) -> None:
        self._model, self._optimizer = model, optimizer
        self._train, self._batch_size = train, batch_size
        device = train.labels.device
        self.losses, self.corrects = _results(model, train, batch_size)
        self._order = torch.arange(len(train), device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._lr = torch.zeros((), device=device)
        self._graphs: dict[int, Any] = {}

    def begin(self, order: Tensor) -> None:
        """Begin an epoch."""
        self._order.copy_(order)
        self._step.zero_()

    def fetch(self, step: int) -> None:
        """Do nothing: to fetch the batch is part of the graph."""

    def take(self, step: int, done: Callable[[Phase], None] = nothing) -> None:
        """Launch the graph of a batch of this size."""
        size = min(self._batch_size, len(self._train) - step * self._batch_size)
        if size not in self._graphs:
            self._graphs[size] = self._capture(size)
        self._lr.fill_(self._optimizer.lr)
        self._graphs[size].replay()

    def _capture(self, size: int) -> Any:
        """Record a step; nothing is left of what it took to do so."""
        state, place = capture(self._model, self._optimizer), self._step.clone()
        kept = self.losses.clone(), self.corrects.clone()
        rate, self._optimizer.lr = self._optimizer.lr, self._lr  # read when it is launched
        try:
            graph = self._record(size)
        finally:
            self._optimizer.lr = rate
        restore(state, self._model, self._optimizer)
        self._step.copy_(place)
        for result, before in zip((self.losses, self.corrects), kept, strict=True):
            result.copy_(before)
        return graph

    def _record(self, size: int) -> Any:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call,unused-ignore]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self._body(size)
                self._step.zero_()
        torch.cuda.current_stream().wait_stream(stream)
        self._optimizer.zero_grad()  # so that the gradients' memory is the graph's own
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._body(size)
        return graph

    def _body(self, size: int) -> None:
        """Take a step, reading all that changes from the device."""
        within = torch.arange(size, device=self._order.device)
        index = self._order[self._step * self._batch_size + within]
        loss, correct = train_step(self._model, self._optimizer, *self._train.batch(index))
        self.losses.index_copy_(0, self._step, loss.view(1))
        self.corrects.index_copy_(0, self._step, correct.to(self.corrects.dtype).view(1))
        self._step += 1


def _results(model: nn.Module, train: Split, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return room for each step's loss, as precise as the model, and count of right answers."""
    steps, device = -(-len(train) // batch_size), train.labels.device
    losses = torch.zeros(steps, device=device, dtype=next(model.parameters()).dtype)
    return losses, torch.zeros(steps, device=device)
