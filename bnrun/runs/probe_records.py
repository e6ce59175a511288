"""What probes saw in a run, read from its metrics, without torch."""

from pathlib import Path

from bnrun.events import Probed
from bnrun.runs.metrics_file import MetricsFile


def read_probes(path: Path) -> list[Probed]:
    """Return what probes saw in a run, each in the order of steps.

    A session that was killed in an epoch leaves looks that the next one takes again: the later one
    counts.

    Raises:
        RunError: a line of the metrics is damaged.
    """
    looks = {
        (event.probe, event.step): event
        for event in MetricsFile(path).read()
        if isinstance(event, Probed)
    }
    order = list(dict.fromkeys(probe for probe, _ in looks))
    return [looks[key] for key in sorted(looks, key=lambda key: (order.index(key[0]), key[1]))]
