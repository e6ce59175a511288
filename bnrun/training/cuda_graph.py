"""Training steps as CUDA graphs: a whole step, batch and optimizer included, in one launch.

LeNet has some hundred small kernels a step, and the GPU finishes each before Python can launch the
next. A graph is recorded once for full batches and once for the smaller last batch of an epoch.
What changes from step to step is read from the device: the order of the images, the position in
it, and the learning rate.

State that a module changes by assigning a new tensor to an attribute, as the textbook's layer
does, is recorded once and not repeated. `engine_choice.py` detects that and refuses such models.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.data.dataset import Split
from bnrun.training.checkpoint import capture, restore
from bnrun.training.optimizer import SGD

WARM_UP_STEPS = 3
"""Steps before a recording, in which CUDA's libraries allocate what must not be recorded."""

TrainStep = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class StepGraphs:
    """Records training steps, and replays them.

    Args:
        model, optimizer: what the steps train. Their state before a recording is restored after.
        train_step: trains on images and labels; returns the mean loss and the count of right
            answers.
        train: the images, on a CUDA device.
        batch_size: images in a full batch.
        losses, correct_counts: one value for each step of an epoch, which the graphs write.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: SGD,
        train_step: TrainStep,
        train: Split,
        batch_size: int,
        losses: Tensor,
        correct_counts: Tensor,
    ) -> None:
        self._model, self._optimizer, self._train_step = model, optimizer, train_step
        self._train, self._batch_size = train, batch_size
        self._losses, self._correct_counts = losses, correct_counts
        device = train.labels.device
        self._order = torch.arange(len(train), device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._lr = torch.zeros((), device=device)
        self._graphs: dict[int, Any] = {}

    def start_epoch(self, order: Tensor) -> None:
        """Set the order of the images, and return to the first step."""
        self._order.copy_(order)
        self._step.zero_()

    def take(self, size: int) -> None:
        """Train on the next `size` images, at the optimizer's learning rate."""
        if size not in self._graphs:
            self._graphs[size] = self._capture(size)
        self._lr.fill_(self._optimizer.lr)
        self._graphs[size].replay()

    def _capture(self, size: int) -> Any:
        """Return the recorded graph of a step, and undo what warming up and recording changed."""
        state, step = capture(self._model, self._optimizer), self._step.clone()
        losses, correct_counts = self._losses.clone(), self._correct_counts.clone()
        lr, self._optimizer.lr = self._optimizer.lr, self._lr  # a replay reads the tensor
        try:
            graph = self._record(size)
        finally:
            self._optimizer.lr = lr
        restore(state, self._model, self._optimizer)
        self._step.copy_(step)
        self._losses.copy_(losses)
        self._correct_counts.copy_(correct_counts)
        return graph

    def _record(self, size: int) -> Any:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call,unused-ignore]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self._run(size)
                self._step.zero_()
        torch.cuda.current_stream().wait_stream(stream)
        self._optimizer.zero_grad()  # the graph then allocates gradients in its own memory
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._run(size)
        return graph

    def _run(self, size: int) -> None:
        """Take a step that reads everything that changes from the device."""
        offsets = torch.arange(size, device=self._order.device)
        index = self._order[self._step * self._batch_size + offsets]
        loss, correct = self._train_step(*self._train.batch(index))
        self._losses.index_copy_(0, self._step, loss.view(1))
        self._correct_counts.index_copy_(
            0, self._step, correct.to(self._correct_counts.dtype).view(1)
        )
        self._step += 1
