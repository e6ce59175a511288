"""torch's global random generators, as one training uses them.

Layers such as dropout draw from generators that the whole process shares. A training keeps states
of its own, and puts them in place only while it computes. So two interleaved trainings draw what
each would draw alone, and the caller's generators stay as they were.
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class RandomNumbers:
    """The random numbers of one training, from a seed on.

    Args:
        seed: what `torch.manual_seed` would take.
        device: whose generator is used, besides the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begin the numbers of a seed; not inside `in_use`."""
        device = self._device
        with preserved_generators(device):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            elif device.type == "mps":
                torch.mps.manual_seed(seed)
            self._states = generator_states(device)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let torch's generators continue these numbers inside the block (20 us on a CPU)."""
        with preserved_generators(self._device):
            set_generator_states(self._states, self._device)
            try:
                yield
            finally:
                self._states = generator_states(self._device)


@contextlib.contextmanager
def preserved_generators(device: torch.device) -> Iterator[None]:
    """Restore the states of torch's generators at the end of the block."""
    states = generator_states(device)
    try:
        yield
    finally:
        set_generator_states(states, device)


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators that work on a device draws from, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_generator_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set torch's generators to the given states; a device type without one keeps its own."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
