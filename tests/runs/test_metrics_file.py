"""The metrics file: whatever was written is read back, as far as it was written whole."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnrun.errors import RunError
from bnrun.events import (
    CheckpointReady,
    DataUsed,
    EpochEnded,
    Event,
    Notice,
    Progress,
    RunEnded,
    RunStarted,
)
from bnrun.runs.metrics_file import MetricsFile

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
STARTED = RunStarted("scratch", "cpu", "a machine", 3, 2, 3, DATA)


def _epoch(number: int) -> EpochEnded:
    return EpochEnded(number, 0.5, 0.8, 0.7, None, 9e3, 9e3, 1.5)


def _write(directory: Path, *events: Event) -> MetricsFile:
    metrics = MetricsFile(directory)
    for event in events:
        metrics.append(event)
    return metrics


def test_a_line_is_an_event_with_its_time(tmp_path: Path) -> None:
    metrics = _write(tmp_path, STARTED, _epoch(1))
    started, epoch = (json.loads(line) for line in metrics.path.read_text().splitlines())
    assert (started["event"], started["finished"], started["norm"]) == ("run_started", 0, "scratch")
    assert (epoch["event"], epoch["epoch"], epoch["loss"]) == ("epoch_ended", 1, 0.5)
    assert epoch["time"].endswith("Z")
    start_time = metrics.start_time()
    assert start_time is not None
    assert f"{start_time:%Y-%m-%dT%H:%M:%SZ}" == started["time"]


def test_progress_and_checkpoints_have_no_line(tmp_path: Path) -> None:
    metrics = _write(tmp_path, Progress(1, 2, 0.5, 0.5, None), CheckpointReady(1, {}))
    assert not metrics.path.exists()
    assert metrics.read() == []
    assert metrics.count_epochs() == 0
    assert metrics.start_time() is None


def test_a_run_that_continues_knows_the_epochs_before_it(tmp_path: Path) -> None:
    again = RunStarted("scratch", "cpu", "a machine", 3, 2, 3, DATA, (_epoch(1),))
    events = [STARTED, _epoch(1), _epoch(2), again, _epoch(2)]
    assert _write(tmp_path, *events).read() == events


def test_a_kind_of_a_later_version_is_left_out(tmp_path: Path) -> None:
    metrics = _write(tmp_path, STARTED)
    with metrics.path.open("a") as file:
        file.write('{"event": "moon_landed", "time": "2030-01-01T00:00:00Z"}\n')
    metrics.append(_epoch(1))
    assert metrics.read() == [STARTED, _epoch(1)]


@pytest.mark.parametrize("line", ["", "[]", "{}", "3", "\0", '{"event": "epoch_ended"}'])
def test_a_damaged_line_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    metrics = _write(tmp_path, STARTED)
    with metrics.path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RunError, match=r"metrics.jsonl:2: this line is not an event"):
        metrics.read()
    metrics.append(_epoch(1))
    assert metrics.count_epochs() == (2 if "epoch" in line else 1)


TEXT = st.text(max_size=20)
RATES = st.none() | st.floats(min_value=0, allow_infinity=False)
FRACTIONS = st.floats(0, 1)
EPOCHS = st.builds(
    EpochEnded,
    epoch=st.integers(1, 1_000),
    loss=st.floats(allow_nan=False),
    train_acc=FRACTIONS,
    test_acc=FRACTIONS,
    validation_acc=st.none() | FRACTIONS,
    examples_per_second=RATES,
    compute_examples_per_second=RATES,
    seconds=st.floats(0, 1e6),
    test_acc_population=st.none() | FRACTIONS,
    test_acc_batch=st.none() | FRACTIONS,
)
ENDINGS = st.builds(
    RunEnded,
    st.sampled_from(["completed", "interrupted", "diverged", "failed"]),
    RATES,
    RATES,
    st.none() | TEXT,
)


@st.composite
def sessions(draw: st.DrawFn) -> list[Event]:
    """The events of a run, in one or several sessions."""
    events: list[Event] = []
    epochs: list[EpochEnded] = []
    for _ in range(draw(st.integers(0, 3))):
        epochs = epochs[: draw(st.integers(0, len(epochs)))]
        chosen = draw(TEXT)
        events.append(
            RunStarted(draw(TEXT), "cpu", draw(TEXT), 0, 9, 3, DATA, tuple(epochs), "eager", chosen)
        )
        for event in draw(st.lists(EPOCHS | st.builds(Notice, TEXT), max_size=4)):
            events.append(event)
            epochs += [event] if isinstance(event, EpochEnded) else []
        events += draw(st.lists(ENDINGS, max_size=1))
    return events


@given(sessions(), st.floats(0, 1))
def test_cut_at_any_byte_it_reads_back_as_the_first_events(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], part: float
) -> None:
    metrics = _write(tmp_path_factory.mktemp("run"), *events)
    assert metrics.read() == events
    if not events:
        return
    whole = metrics.path.read_bytes()
    cut = whole[: round(part * len(whole))]
    metrics.path.write_bytes(cut)
    count = cut.count(b"\n")
    assert metrics.read() == events[:count]
    assert metrics.count_epochs() == sum(isinstance(e, EpochEnded) for e in events[:count])

    metrics.drop_partial_line()
    assert cut.startswith(metrics.path.read_bytes())
    metrics.append(Notice("continues"))
    assert metrics.read() == [*events[:count], Notice("continues")]
