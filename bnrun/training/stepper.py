"""One training, a step at a time: the only place where a training step is taken.

The loop, the measurement of engines, parity, throughput and the benchmark all drive a `Stepper`:

    stepper = Stepper(config, dataset.train, engine=engine)
    with stepper.computing():
        loss, images = stepper.step()
"""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bnrun import kernels
from bnrun.config import Config
from bnrun.data.dataset import Split, image_order
from bnrun.networks.layers import cross_entropy
from bnrun.networks.lenet import LeNet
from bnrun.networks.whole import can_be_one_call, lenet_step
from bnrun.norms.introspection import MovingStatistics
from bnrun.processes import ALONE, Processes
from bnrun.training.checkpoint import capture, restore, restore_model, with_model
from bnrun.training.cuda_graph import StepGraphs
from bnrun.training.device import deterministic
from bnrun.training.engine import EAGER, Engine, running, uses_graphs, uses_kernels
from bnrun.training.model import build_model, wrap_model_errors
from bnrun.training.norm_statistics import norm_statistics, synchronize
from bnrun.training.optimizer import SGD, build_optimizer, learning_rate
from bnrun.training.random_numbers import RandomNumbers

Phase = Literal["forward", "backward", "optimizer"]
OnPhase = Callable[[Phase], None]


def ignore_phase(phase: Phase) -> None:
    """Do nothing at the end of a phase."""


class Stepper:
    """Owns the order of the images, the learning rate, the batch and the step of one training.

    Args:
        config: of the training. Its `training.engine` is not read: see `engine`.
        train: the training images, on the device to train on.
        engine: executes the steps.
        dtype: to convert the model and the images to; None leaves the model as it is built.
        name: of the training in errors, such as "arm scratch"; empty where there is only one.
        processes: which train the same network. Each takes its share of every batch; gradients
            and metrics are summed over all of them. So weights, statistics, losses and counts are
            the same in all processes, after every step. What else a norm keeps is the same after
            every epoch: that of the first process.

    Attributes:
        model, dtype: the network, and the type of its parameters.
        steps_taken: how many steps were taken since the training's first epoch began.
        batch_sizes: the number of images in each batch of an epoch, in all processes; the last
            may be smaller.
        statistics: what the norms of several processes normalize by.
        losses: each step's mean loss in the current epoch, on the device, shape (steps,).
        correct_counts: each step's count of right answers, likewise.

    Raises:
        NormError: the norm cannot be loaded or built.
        ConfigError: it cannot be synchronized between processes.
        TrainingFailed: it cannot be moved to the device, or its parameters have no shape yet.
    """

    def __init__(
        self,
        config: Config,
        train: Split,
        *,
        engine: Engine = EAGER,
        dtype: torch.dtype | None = None,
        name: str = "",
        processes: Processes = ALONE,
    ) -> None:
        self._config, self._train, self._engine = config, train, engine
        self._processes = processes
        self.name = name
        self._device = train.labels.device
        self._random_numbers = RandomNumbers(config.training.seed, self._device)
        self._is_computing = False
        with self._random_numbers.in_use():  # a norm's constructor may draw
            self.model: LeNet = build_model(config)
            self.statistics = norm_statistics(config, processes, self._device)
            if self.statistics.kind == "synced":
                synchronize(self.model, processes)
            with self._wrap_model_errors("before the first step"):
                self.model.to(self._device, dtype)
        if dtype is not None:
            for moving in MovingStatistics.find(self.model).values():
                moving.to(self._device, dtype)  # `Module.to` does not convert plain attributes
        self.dtype = next(self.model.parameters()).dtype
        with self._wrap_model_errors("before the first step"):  # parameters may be lazy
            self.optimizer: SGD = build_optimizer(config, self.model)
        size, count = config.training.batch_size, len(train)
        self.batch_sizes = [min(size, count - start) for start in range(0, count, size)]
        self.steps_taken = 0
        self.losses = torch.zeros(len(self.batch_sizes), dtype=self.dtype, device=self._device)
        self.correct_counts = torch.zeros(len(self.batch_sizes), device=self._device)
        self._order = self._index = torch.empty(0, dtype=torch.long)
        self._batch: tuple[Tensor, Tensor] | None = None
        self._one_call: kernels.LeNetStep | None = None
        self._has_begun = False  # to take steps, in the current block of `computing`
        self._graphs: StepGraphs | None = None
        self._restart_random_numbers(0)
        if uses_graphs(engine, self._device):
            self._graphs = StepGraphs(
                self.model,
                self.optimizer,
                self._train_step,
                train,
                size,
                self.losses,
                self.correct_counts,
            )

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of steps in an epoch."""
        return len(self.batch_sizes)

    @property
    def is_in_one_call(self) -> bool:
        """Return whether the network, as it is now, is computed in one call of a kernel."""
        has_kernels = uses_kernels(self._engine, self._device) and self.dtype == torch.float32
        is_alone = not self._processes.is_distributed  # else gradients are summed within the step
        return has_kernels and is_alone and can_be_one_call(self.model)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Enter all that this training computes under, for steps and for what its model predicts.

        That is its engine, its device, its random numbers and, with `training.deterministic`,
        torch's deterministic algorithms. All of them are global, so leave the block before another
        training computes, and before any `yield`. A block inside another of the same stepper
        changes nothing.

        Change the model, its hooks and the optimizer between blocks, not inside one: whether a step
        calls layers is found out when a block, or an epoch in it, begins.

        Raises:
            EngineError: the engine is not available on this machine.
        """
        if self._is_computing:
            yield
            return
        with (
            running(self._engine, self._device),
            deterministic(self._device, self._config.training.deterministic),
            self._random_numbers.in_use(),
        ):
            self._is_computing = True
            try:
                yield
            finally:
                self._is_computing = self._has_begun = False
                self._one_call = None

    def step(self) -> tuple[Tensor, int]:
        """Take one step; return its mean loss, on the device, and its number of images.

        Raises:
            TrainingFailed: the model raised.
            EngineError: see `computing`.
        """
        with self.computing():
            self.fetch()
            return self.take()

    @property
    def calls_layers(self) -> bool:
        """Return whether the step that `fetch` has begun calls the network's layers.

        A network that is one call does so, too, where the batch is one image.
        """
        step = self.steps_taken % self.steps_per_epoch
        return self._graphs is None and (self._one_call is None or self.batch_sizes[step] == 1)

    def fetch(self) -> None:
        """Look up the batch of the next step, inside `computing`.

        Where a step is one call or one graph, that looks the batch up itself.
        """
        assert self._is_computing
        epoch, step = divmod(self.steps_taken, self.steps_per_epoch)
        if step == 0:
            self._start_epoch(epoch + 1)
        if step == 0 or not self._has_begun:
            self._begin()
        start = step * self._config.training.batch_size
        batch = self._order[start : start + self.batch_sizes[step]]
        self._index = batch[self._processes.share(len(batch), self.batch_sizes[0])]
        if self._graphs is None and self._one_call is None:
            self._batch = self._look_up()

    def take(self, on_phase: OnPhase = ignore_phase) -> tuple[Tensor, int]:
        """Train on the batch that `fetch` looked up, inside `computing`.

        Args:
            on_phase: called at the end of each phase, except by CUDA graphs, which have none. A
                step that is one call is then taken phase by phase, too.

        Returns, raises: see `step`.
        """
        assert self._is_computing
        epoch, step = divmod(self.steps_taken, self.steps_per_epoch)
        size = self.batch_sizes[step]
        place = f"epoch {epoch + 1}, step {step + 1} of {self.steps_per_epoch}, a batch of {size}"
        self.optimizer.lr = self._learning_rate()
        with self._wrap_model_errors(place):
            if self._graphs is not None:
                self._graphs.take(size)
            elif self._one_call is not None and on_phase is ignore_phase and not self.calls_layers:
                self._take_in_one_call(self._one_call, step)
            else:
                batch = self._look_up() if self._one_call is not None else self._batch
                assert batch is not None
                train = self._train_share if self._processes.is_distributed else self._train_step
                self.losses[step], self.correct_counts[step] = train(*batch, on_phase)
        self.steps_taken += 1
        if step == self.steps_per_epoch - 1:
            self._take_state_of_first()
        return self.losses[step], size

    def capture(self) -> dict[str, Any]:
        """Return the state to continue from: model, optimizer and random numbers."""
        with self.computing():
            return capture(self.model, self.optimizer)

    def restore(self, state: Mapping[str, Any], epochs: int) -> None:
        """Continue from a captured state, after a number of epochs.

        Raises:
            RuntimeError, KeyError, ValueError: the state is of another model.
        """
        with self.computing():
            restore(state, self.model, self.optimizer)
        self._restart_random_numbers(epochs)
        self.steps_taken = epochs * self.steps_per_epoch

    def _start_epoch(self, epoch: int) -> None:
        self._order = image_order(self._config.training.seed, epoch, len(self._train)).to(
            self._device
        )
        if self._graphs is not None:
            self._graphs.start_epoch(self._order)
        with self._wrap_model_errors(f"epoch {epoch}"):  # a norm may have a `train` of its own
            self.model.train()
        if epoch == 1:
            self._take_state_of_first()

    def _take_state_of_first(self) -> None:
        """Give each process the state of the first one's model, as `capture` returns it.

        A user's norm may draw its initial values, count its calls, or keep statistics by names that
        `MovingStatistics` does not know: these differ between processes.
        """
        if self._processes.is_distributed:
            restore_model(self._processes.from_first(with_model({}, self.model)), self.model)

    def _restart_random_numbers(self, epochs: int) -> None:
        """Let each process but the first draw numbers of its own, as different images need."""
        if self._processes.rank:
            text = f"{self._config.training.seed},{epochs},{self._processes.rank}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
            self._random_numbers.restart(seed)

    def _begin(self) -> None:
        """Find out whether steps are one call each, until this block of `computing` ends."""
        self._has_begun, self._one_call = True, None
        train, optimizer = self._train, self.optimizer
        if type(self.model) is not LeNet or not self.is_in_one_call:
            return
        if type(optimizer) is not SGD or "step" in vars(optimizer):  # it may do something else
            return
        self._one_call = lenet_step(
            self.model,
            train.images,
            train.labels,
            optimizer.parameters,
            optimizer.velocities,
            max(self.batch_sizes),
        )

    def _look_up(self) -> tuple[Tensor, Tensor]:
        """Return the images and labels of the next step."""
        images, labels = self._train.batch(self._index)
        return images.to(self.dtype), labels

    def _take_in_one_call(self, one_call: kernels.LeNetStep, step: int) -> None:
        optimizer = self.optimizer
        assert not isinstance(optimizer.lr, Tensor)
        optimizer.zero_grad()  # the call leaves none, and old ones would be of another step
        one_call.take(
            self._index,
            self.losses[step],
            self.correct_counts[step],
            lr=optimizer.lr,
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
            nesterov=optimizer.nesterov,
        )

    def _wrap_model_errors(self, place: str) -> contextlib.AbstractContextManager[None]:
        return wrap_model_errors(f"{self.name}, {place}" if self.name else place)

    def _learning_rate(self) -> float:
        settings = self._config.optimizer
        steps = self._config.training.epochs * self.steps_per_epoch
        step = min(self.steps_taken, steps - 1)  # a measurement may go on beyond the run's end
        return learning_rate(settings.schedule, settings.lr, step, steps)

    def _train_step(
        self, images: Tensor, labels: Tensor, on_phase: OnPhase = ignore_phase
    ) -> tuple[Tensor, Tensor]:
        """Train on a batch; return its mean loss and its count of right answers, on the device."""
        self.optimizer.zero_grad()
        logits = self.model(images)
        loss = cross_entropy(logits, labels)
        on_phase("forward")
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        on_phase("backward")
        self.optimizer.step()
        correct = (logits.detach().argmax(1) == labels).sum()
        on_phase("optimizer")
        return loss.detach(), correct

    def _train_share(
        self, images: Tensor, labels: Tensor, on_phase: OnPhase = ignore_phase
    ) -> tuple[Tensor, Tensor]:
        """Train on this process's share of a batch; return what `_train_step` does, of all of it.

        The loss of a share is its sum over the count of the whole batch. So the sum of the shares'
        gradients is the gradient of the batch, however uneven the shares are: the mean that
        DistributedDataParallel takes would weigh them alike. One call sums all that a step needs.
        """
        self.optimizer.zero_grad()
        size = self.batch_sizes[self.steps_taken % self.steps_per_epoch]
        loss, correct = self.losses.new_zeros(2)
        if len(labels) or self.statistics.kind == "synced":  # whose norms all must call
            logits = self.model(images)
            share_loss = F.cross_entropy(logits, labels, reduction="sum") / size
            loss, correct = share_loss.detach(), (logits.detach().argmax(1) == labels).sum()
            on_phase("forward")
            share_loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        results = torch.stack([loss, correct.to(loss.dtype)])
        self._add_shares(results, weight=len(labels) / size)
        on_phase("backward")
        self.optimizer.step()
        on_phase("optimizer")
        return results[0], results[1]

    def _add_shares(self, results: Tensor, weight: float) -> None:
        """Sum results and gradients over the processes.

        A parameter that no process has used stays without a gradient, so that weight decay skips
        it, as in one process.

        Norms that each normalize a share have moved their statistics by its mean and variance.
        Their weighted mean is as if they had all moved by those of the shares, averaged by images.
        """
        trained = [one for one in self.optimizer.parameters if one.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        uses = results.new_tensor([p.grad is not None for p in trained])
        moving = []
        if self.statistics.kind == "local":
            moving = list(MovingStatistics.find(self.model).values())
        averages = [[tensor.detach() * weight for tensor in one.tensors()] for one in moving]
        self._processes.add([results, uses, *gradients, *itertools.chain(*averages)])
        for parameter, gradient, count in zip(trained, gradients, uses.tolist(), strict=True):
            parameter.grad = gradient if count else None
        for one, average in zip(moving, averages, strict=True):
            one.replace(*average)
