"""What lists and pictures show of the probes of a run: quantities with titles, by probe."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bnrun.events import Probed

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Quantity:
    """What a probe measures: its name there, its title, and whether its axis is logarithmic."""

    name: str
    title: str
    is_log: bool = False


QUANTITIES: Mapping[str, Sequence[Quantity]] = {
    "activations": (
        Quantity("deviation", "deviation of what enters the nonlinearity"),
        Quantity("off", "share where the nonlinearity is off"),
    ),
    "gradients": (
        Quantity("rms", "gradient before the nonlinearity, RMS", is_log=True),
        Quantity("ratio", "weight's gradient over weight", is_log=True),
    ),
    "updates": (
        Quantity("update", "last step over weight"),
        Quantity("distance", "distance from the start over start"),
    ),
    "landscape": (
        Quantity("range", "range of the loss along the gradient", is_log=True),
        Quantity("change", "largest change of the gradient", is_log=True),
        Quantity("beta", "that change over the step", is_log=True),
        Quantity("cosine", "smallest cosine to the gradient"),
    ),
    "shift": (
        Quantity("cosine", "cosine of the gradient before and after"),
        Quantity("relative", "change of the gradient over gradient", is_log=True),
    ),
    "shadow": (
        Quantity("0.1", "error of the moving mean, gain 0.1"),
        Quantity("0.01", "error of the moving mean, gain 0.01"),
        Quantity("1/k", "error of the moving mean, gain 1/k"),
        Quantity("kalman", "error of the moving mean, Kalman filter"),
    ),
}
"""Some probes measure more: it is in the run's metrics."""


def probes_of(looks: Iterable[Probed]) -> list[str]:
    """Return the probes that looked, in the order of their first looks."""
    return list(dict.fromkeys(look.probe for look in looks))


def series(looks: Iterable[Probed], probe: str, quantity: str) -> Iterator[tuple[str, Points]]:
    """Yield what a probe saw of a quantity: each layer with its points (step, value)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for look in looks:
        for layer, values in look.values.items() if look.probe == probe else ():
            if quantity in values:
                found.setdefault(layer, []).append((float(look.step), values[quantity]))
    yield from found.items()
