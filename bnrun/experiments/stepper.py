"""One arm's training, a step at a time: for what is measured beside the trials."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bnrun.config import Config
from bnrun.data.dataset import Dataset, image_order
from bnrun.norms.parts import MovingStatistics
from bnrun.training.failures import told
from bnrun.training.schedule import learning_rate
from bnrun.training.step import build_model, build_optimizer, train_step


class Stepper:
    """Trains a config's model on the batches that its trial would take, epoch after epoch."""

    def __init__(
        self,
        name: str,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        torch.manual_seed(config.training.seed)
        self.name = name
        self.model = build_model(config).to(device, dtype)
        for moving in MovingStatistics.find(self.model).values():  # plain attributes stayed
            moving.to(device, dtype)
        self.steps = 0
        self._config = config
        self._dtype = dtype
        self._train = dataset.train
        self._optimizer = build_optimizer(config, self.model)
        self._batches = self._forever(device)
        self.model.train()

    def step(self) -> tuple[Tensor, int]:
        """Take a step; return its mean loss, on the device, and the count of its images.

        Raises:
            TrainingFailed: the model raised.
        """
        images, labels = next(self._batches)
        settings = self._config.optimizer
        total = self._config.training.epochs * self._steps_per_epoch()
        self._optimizer.lr = learning_rate(
            settings.schedule, settings.lr, min(self.steps, total - 1), total
        )
        self.steps += 1
        with told(f"arm {self.name}, step {self.steps}"):
            loss, _ = train_step(self.model, self._optimizer, images.to(self._dtype), labels)
        return loss, len(labels)

    def _steps_per_epoch(self) -> int:
        return -(-len(self._train) // self._config.training.batch_size)

    def _forever(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        settings, epoch = self._config.training, 0
        while True:
            epoch += 1
            order = image_order(settings.seed, epoch, len(self._train)).to(device)
            yield from self._train.batches(settings.batch_size, order)
