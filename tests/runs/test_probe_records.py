"""What probes saw, as a run's metrics hold it."""

from pathlib import Path

from bnrun.events import Probed
from bnrun.runs.metrics_file import MetricsFile
from bnrun.runs.probe_records import read_probes


def test_of_a_step_that_was_taken_twice_the_later_look_counts(tmp_path: Path) -> None:
    def look(probe: str, step: int, value: float) -> Probed:
        return Probed(probe, step, {"fc1": {"rms": value}})

    killed = [look("gradients", 0, 1.0), look("updates", 0, 2.0), look("gradients", 20, 3.0)]
    continued = [look("gradients", 20, 4.0), look("updates", 20, 5.0)]
    for event in (*killed, *continued):
        MetricsFile(tmp_path).append(event)
    assert read_probes(tmp_path) == [killed[0], continued[0], killed[1], continued[1]]


def test_a_run_without_probes_has_no_looks(tmp_path: Path) -> None:
    assert read_probes(tmp_path) == []
