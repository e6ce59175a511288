"""The base class of instruments."""

from collections.abc import Mapping
from typing import Any

from bnrun.networks.lenet import LeNet
from bnrun.training.probes.sight import Sight, Values


class Instrument:
    """Looks at a training every so many steps; by default, it does nothing else.

    Args:
        model: the network at its initial weights.
    """

    def __init__(self, model: LeNet) -> None:
        pass

    def before_step(self, model: LeNet) -> None:
        """See the network before the step that a look follows."""

    def after_step(self, model: LeNet) -> None:
        """See the network after every step."""

    def look(self, sight: Sight) -> Values:
        """Return what there is to see now."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what it needs to continue in another process: tensors and plain values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
