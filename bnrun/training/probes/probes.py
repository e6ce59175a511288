"""All probes of one training."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from bnrun.config import Config
from bnrun.data.dataset import Split
from bnrun.events import Probed
from bnrun.networks.lenet import LeNet
from bnrun.norms.population import preserving
from bnrun.training.engine import EAGER, Engine, running
from bnrun.training.model import wrap_model_errors
from bnrun.training.probes.activations import Activations
from bnrun.training.probes.gradients import Gradients
from bnrun.training.probes.instrument import Instrument
from bnrun.training.probes.landscape import Landscape
from bnrun.training.probes.shadow import Shadow
from bnrun.training.probes.shift import Shift
from bnrun.training.probes.sight import Sight
from bnrun.training.probes.updates import Updates
from bnrun.training.random_numbers import RandomNumbers

IMAGES = 256
"""Images of the batch of the probes: the first ones of the training images."""

INSTRUMENTS: Mapping[str, type[Instrument]] = {
    "activations": Activations,
    "gradients": Gradients,
    "updates": Updates,
    "landscape": Landscape,
    "shift": Shift,
    "shadow": Shadow,
}


class Probes:
    """The instruments that a config asks for, and when they look.

    They look before the first step, after every `training.probe_every` steps, and after the last.

    Args:
        config: of the training.
        model: the network at its initial weights.
        train: the training images.
        steps: how many steps the training takes in all.
        engine: computes the network at a look; layer by layer where an instrument has hooks on its
            layers.

    Raises:
        ConfigError: an instrument cannot look at this network.
    """

    def __init__(
        self, config: Config, model: LeNet, train: Split, steps: int, engine: Engine = EAGER
    ) -> None:
        self._config, self._model, self._steps = config, model, steps
        self._engine = engine
        self._instruments = {name: INSTRUMENTS[name](model) for name in config.training.probe}
        self._device = train.labels.device
        first = torch.arange(min(IMAGES, len(train)), device=self._device)
        self._batch = train.batch(first) if self._instruments else None

    def is_due(self, step: int) -> bool:
        """Return whether there is a look after so many steps."""
        is_regular = step % self._config.training.probe_every == 0
        return bool(self._instruments) and (is_regular or step == self._steps)

    def before_step(self, step: int) -> None:
        """See the network before a step, the first of which is 1."""
        if self.is_due(step):
            for instrument in self._instruments.values():
                instrument.before_step(self._model)

    def after_step(self) -> None:
        """See the network after a step."""
        for instrument in self._instruments.values():
            instrument.after_step(self._model)

    def look(self, step: int, lr: float) -> Iterator[Probed]:
        """Return what each instrument sees after so many steps.

        It draws the same random numbers at each look. The network, its moving statistics and the
        random numbers of the training stay as they are.

        Raises:
            TrainingFailed: the model raised.
        """
        for name, instrument in self._instruments.items():
            assert self._batch is not None
            with (
                running(self._engine, self._device),
                RandomNumbers(self._config.training.seed, self._device).in_use(),
                preserving(self._model),
                wrap_model_errors(f"probe {name} after step {step}"),
            ):
                values = instrument.look(Sight(self._model, *self._batch, lr))
            yield Probed(name, step, values)

    def state(self) -> dict[str, Any]:
        """Return what they need to continue, by instrument."""
        return {name: state for name, one in self._instruments.items() if (state := one.state())}

    def restore(self, states: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        for name, state in states.items():
            if name in self._instruments:
                self._instruments[name].restore(state)
