"""One arm's training, a step at a time: for what is measured beside the trials."""

from collections.abc import Callable

import torch
from torch import Tensor

from bnrun.config import Config
from bnrun.data.dataset import Dataset, image_order
from bnrun.norms.introspection import MovingStatistics
from bnrun.training.engine import EAGER, Engine, make_steps, running
from bnrun.training.failures import told
from bnrun.training.schedule import learning_rate
from bnrun.training.step import Phase, build_model, build_optimizer, nothing


class Stepper:
    """Trains a config's model on the batches that its trial would take, epoch after epoch."""

    def __init__(
        self,
        name: str,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        engine: Engine = EAGER,
    ) -> None:
        torch.manual_seed(config.training.seed)
        self.name = name
        self.model = build_model(config).to(device, dtype)
        for moving in MovingStatistics.find(self.model).values():  # plain attributes stayed
            moving.to(device, dtype)
        self.steps = 0
        self._config = config
        self._device, self._engine = device, engine
        self._images, size = len(dataset.train), config.training.batch_size
        self._steps_per_epoch = -(-self._images // size)
        self._optimizer = build_optimizer(config, self.model)
        self._taker = make_steps(engine, self.model, self._optimizer, dataset.train, size)
        self.model.train()

    def step(self) -> tuple[Tensor, int]:
        """Take a step; return its mean loss, on the device, and the count of its images.

        Raises:
            TrainingFailed: the model raised.
        """
        self.fetch()
        return self.take()

    def fetch(self) -> None:
        """Have the batch of the next step there."""
        epoch, step = divmod(self.steps, self._steps_per_epoch)
        if step == 0:
            order = image_order(self._config.training.seed, epoch + 1, self._images)
            self._taker.begin(order.to(self._device))
        with running(self._engine, self._device):
            self._taker.fetch(step)

    def take(self, done: Callable[[Phase], None] = nothing) -> tuple[Tensor, int]:
        """Train on it; `done` hears of each phase's end. Returns and raises what `step` does."""
        size, step = self._config.training.batch_size, self.steps % self._steps_per_epoch
        self._set_learning_rate()
        self.steps += 1
        with told(f"arm {self.name}, step {self.steps}"), running(self._engine, self._device):
            self._taker.take(step, done)
        return self._taker.losses[step], min(size, self._images - step * size)

    def _set_learning_rate(self) -> None:
        settings, training = self._config.optimizer, self._config.training
        total = training.epochs * self._steps_per_epoch
        self._optimizer.lr = learning_rate(
            settings.schedule, settings.lr, min(self.steps, total - 1), total
        )
