"""A training is a sequence of events, the same each time and beside any other training."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnrun import kernels
from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset
from bnrun.data.synthetic import synthetic
from bnrun.errors import EngineError, NormError, RunError, TrainingFailed
from bnrun.events import (
    Activity,
    CheckpointReady,
    EpochEnded,
    Event,
    Notice,
    Plan,
    Progress,
    RunEnded,
    RunStarted,
    drain,
)
from bnrun.training import loop, train
from bnrun.training.stepper import Stepper

CPU = torch.device("cpu")
NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + 0.01 * torch.randn_like(x) * self.calls
"""


@pytest.fixture(scope="module")
def small() -> Dataset:
    """An epoch of three steps: of 64 images, of 64 and of 22."""
    data = synthetic()
    return replace(
        data,
        train=data.train.take(torch.arange(150)),
        test=data.test.take(torch.arange(50)),
    )


def _config(*overrides: str) -> Config:
    texts = ("training.epochs=3", "training.batch_size=64", *overrides)
    return resolve(None, [a for text in texts for a in parse_override(text)]).config


def _epochs(events: Iterable[Event]) -> list[tuple[float, float, float]]:
    return [
        (event.loss, event.train_acc, event.test_acc)
        for event in events
        if isinstance(event, EpochEnded)
    ]


def _through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(dict(state), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_events_come_in_order(small: Dataset) -> None:
    events = [e for e in train(_config(), small, CPU) if not isinstance(e, Progress | Activity)]
    kinds = [type(event) for event in events]
    assert kinds == [RunStarted, *[CheckpointReady, EpochEnded] * 3, RunEnded]
    started, ended = events[0], events[-1]
    assert isinstance(started, RunStarted)
    assert (started.device, started.steps_per_epoch, started.epochs) == ("cpu", 3, 3)
    assert started.data.name == "synthetic"
    assert isinstance(ended, RunEnded)
    assert ended.status == "completed"


def test_the_model_is_built_before_the_first_event(small: Dataset) -> None:
    with pytest.raises(NormError):
        train(_config("model.norm=missing.py:Norm"), small, CPU)


def test_it_learns(small: Dataset) -> None:
    epochs = _epochs(train(_config("training.epochs=12"), small, CPU))
    assert epochs[-1][0] < 0.5 * epochs[0][0]
    assert epochs[-1][1] > 0.9


def test_the_same_seed_gives_the_same_bits_and_another_does_not(small: Dataset) -> None:
    first, again, other = (
        _epochs(train(_config(f"training.seed={seed}"), small, CPU)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_the_epoch_mean_weighs_a_smaller_last_batch_by_its_size(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = iter([(1.0, 64), (2.0, 32), (4.0, 0)])

    def step(*_: Any) -> tuple[Tensor, Tensor]:
        loss, correct = next(fixed)
        return torch.tensor(loss), torch.tensor(correct)

    monkeypatch.setattr(Stepper, "_train_step", step)
    ((loss, train_acc, _),) = _epochs(train(_config("training.epochs=1"), small, CPU))
    assert loss == pytest.approx((1.0 * 64 + 2.0 * 64 + 4.0 * 22) / 150)
    assert train_acc == pytest.approx(96 / 150)


@pytest.mark.parametrize("norm", ["scratch", "builtin", "textbook", "none", "NOISY"])
@pytest.mark.parametrize("after", [1, 2])
def test_a_resumed_run_ends_on_the_same_bits(
    small: Dataset, tmp_path: Path, norm: str, after: int
) -> None:
    if norm == "NOISY":  # a user's own layer, with random numbers and a counter of its own
        (tmp_path / "noisy.py").write_text(NOISY)
        norm = f"{tmp_path}/noisy.py:Noisy"
    config = _config(
        f"model.norm={norm}",
        "optimizer={lr: 0.1, momentum: 0.9, nesterov: true, schedule: one-cycle}",
    )
    whole = list(train(config, small, CPU))
    states = {e.epoch: _through_a_file(e.state) for e in whole if isinstance(e, CheckpointReady)}
    rest = list(train(config, small, CPU, states[after]))
    resumed = {e.epoch: e.state for e in rest if isinstance(e, CheckpointReady)}

    assert _epochs(rest) == _epochs(whole)[after:]
    assert isinstance(rest[0], RunStarted)
    assert [epoch.epoch for epoch in rest[0].finished] == list(range(1, after + 1))
    for part in ("model", "attributes", "optimizer", "rng"):
        _assert_same(resumed[3][part], states[3][part])


def test_a_resumed_run_with_dropout_and_pieces_ends_on_the_same_bits(small: Dataset) -> None:
    config = _config("training.epochs=2", "training.norm_batch=16", "model.dropout=0.5")
    whole = list(train(config, small, CPU))
    state = next(e.state for e in whole if isinstance(e, CheckpointReady))
    resumed = list(train(config, small, CPU, _through_a_file(state)))
    assert _epochs(resumed) == _epochs(whole)[1:]


def _assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        for inner_a, inner_b in zip(a, b, strict=True):
            _assert_same(inner_a, inner_b)
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def _last_checkpoint(events: Iterable[Event]) -> Mapping[str, Any]:
    return [event.state for event in events if isinstance(event, CheckpointReady)][-1]


def test_a_finished_run_that_is_trained_longer_ends_on_the_bits_of_a_longer_run(
    small: Dataset,
) -> None:
    longer = [*train(_config("training.epochs=3"), small, CPU)]
    first = [*train(_config("training.epochs=1"), small, CPU)]
    extended = [*train(_config("training.epochs=3"), small, CPU, _last_checkpoint(first))]
    assert extended[0].plans == (Plan(1, 1), Plan(2, 3))  # type: ignore[union-attr]
    assert not any(isinstance(event, Notice) for event in extended)  # a constant rate
    assert _epochs(extended) == _epochs(longer)[1:]
    ends = _last_checkpoint(extended), _last_checkpoint(longer)
    for part in ("model", "attributes", "optimizer", "rng"):
        _assert_same(*(end[part] for end in ends))
    again = next(iter(train(_config("training.epochs=3"), small, CPU, _last_checkpoint(extended))))
    assert again.plans == (Plan(1, 1), Plan(2, 3))  # type: ignore[union-attr]


def test_a_schedule_over_another_length_is_said_before_and_after(small: Dataset) -> None:
    schedule = "optimizer.schedule=one-cycle"
    first = [*train(_config(schedule, "training.epochs=1"), small, CPU)]
    work = train(_config(schedule, "training.epochs=2"), small, CPU, _last_checkpoint(first))
    notices: list[str] = []
    summary = drain(
        work, lambda event: notices.append(event.message) if isinstance(event, Notice) else None
    )
    assert notices == [
        "schedule one-cycle spans the run: up to epoch 1, the learning rates are those of a run of "
        "1, and from there on those of a run of 2; the rate goes from 4e-06 to 0.46"
    ]
    assert summary.remarks[-1] == (
        "The learning rates of schedule one-cycle are those of a run of 1 epoch in epoch 1, and "
        "of a run of 2 epochs from epoch 2 on. A run of 2 epochs from the start has "
        "other rates."
    )
    assert summary.to_dict()["plans"] == [{"first": 1, "epochs": 1}, {"first": 2, "epochs": 2}]


def test_a_finished_run_has_nothing_left_to_do(small: Dataset) -> None:
    config = _config()
    *_, state = (e.state for e in train(config, small, CPU) if isinstance(e, CheckpointReady))
    assert [type(e) for e in train(config, small, CPU, state)] == [RunStarted, RunEnded]


def test_the_checkpoint_of_another_model_is_refused(small: Dataset) -> None:
    *_, state = (e.state for e in train(_config(), small, CPU) if isinstance(e, CheckpointReady))
    with pytest.raises(RunError, match="does not fit"):
        train(_config("model.norm=none"), small, CPU, state)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Stepper._train_step, 0

    def step(*args: Any) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        loss, correct = real(*args)
        return (loss * math.nan if calls >= 5 else loss), correct

    monkeypatch.setattr(Stepper, "_train_step", step)
    events = list(train(_config(), small, CPU))
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "diverged"
    assert ended.reason == "the loss became nan at epoch 2, step 2 of 3 (step 5 of the run)"
    assert [e.epoch for e in events if isinstance(e, CheckpointReady)] == [1]


def test_a_learning_rate_that_is_too_large_diverges(small: Dataset) -> None:
    config = _config("model={norm: none, activation: relu}", "optimizer.lr=1e6")
    *_, ended = train(config, small, CPU)
    assert isinstance(ended, RunEnded)
    assert ended.status == "diverged"


def test_a_batch_of_one_fails_with_the_batch_in_the_message(small: Dataset) -> None:
    events = train(_config("training.batch_size=149"), small, CPU)
    with pytest.raises(TrainingFailed, match=r"step 2 of 2, a batch of 1: .*more than 1 value"):
        list(events)


def test_a_last_batch_of_one_image_is_said_before_training(small: Dataset) -> None:
    events = train(_config("training.batch_size=149"), small, CPU)
    assert isinstance(next(events), RunStarted)
    assert next(events) == Notice(
        "the last batch of each epoch has one image (150 = 1 * 149 + 1), where a norm over the "
        "batch has nothing to average; such norms refuse it, or put out beta. Fix: --set "
        "training.batch_size=148"
    )
    events.close()


def test_a_layer_that_raises_is_shown_by_its_own_line(small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(NOISY.replace("return x +", "return x[:, :, 0, 0, 0] +"))
    events = train(_config(f"model.norm={path}:Noisy"), small, CPU)
    with pytest.raises(TrainingFailed) as caught:
        list(events)
    assert f"{path}:12: return x[:, :, 0, 0, 0]" in str(caught.value)


def test_an_error_in_evaluation_names_the_evaluation(small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(NOISY.replace("self.calls += 1", "assert self.training, 'not ready'"))
    events = train(_config(f"model.norm={path}:Noisy"), small, CPU)
    with pytest.raises(TrainingFailed, match="evaluation after epoch 1: AssertionError: not ready"):
        list(events)


def test_deterministic_training_warns_of_nothing_on_a_cpu(small: Dataset) -> None:
    plain, deterministic = (
        _epochs(train(_config(f"training.deterministic={flag}"), small, CPU))
        for flag in ("false", "true")
    )
    assert deterministic == plain


def test_held_out_images_are_reported_on_and_not_trained_on(small: Dataset) -> None:
    held = small.hold_out(100)
    events = list(train(_config("training.epochs=1"), held, CPU))
    started = events[0]
    assert isinstance(started, RunStarted)
    assert (started.data.train_images, started.data.validation_images) == (50, 100)
    (ended,) = (e for e in events if isinstance(e, EpochEnded))
    assert ended.validation_acc is not None


def test_progress_holds_means_so_far(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    progress = [
        e for e in train(_config("training.epochs=2"), small, CPU) if isinstance(e, Progress)
    ]
    assert [(e.epoch, e.step) for e in progress] == [
        (epoch, step) for epoch in (1, 2) for step in (1, 2, 3)
    ]
    assert all(math.isfinite(e.loss) and 0 <= e.accuracy <= 1 for e in progress)


IDLE = """
from torch import nn

class Idle(nn.BatchNorm2d):
    def __init__(self, n):
        super().__init__(n, momentum=0.0)
    def _check_input_dim(self, x):
        pass
"""


def test_a_norm_that_never_moves_its_statistics_gives_one_notice(
    small: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "idle.py").write_text(IDLE)

    def notices_of(norm: str) -> list[str]:
        events = train(_config(f"model.norm={norm}"), small, CPU)
        return [event.message for event in events if isinstance(event, Notice)]

    notices = {norm: notices_of(norm) for norm in ("scratch", "none", f"{tmp_path}/idle.py:Idle")}
    idle = notices.pop(f"{tmp_path}/idle.py:Idle")
    assert idle == [
        "the moving statistics of norm1, norm2, norm3, norm4 are still 0 and 1 after an epoch: the "
        "norm does not update them, and predicts without normalizing"
    ]
    assert not any(notices.values())


def test_other_statistics_are_taken_where_asked_for_and_change_nothing(small: Dataset) -> None:
    plain = _epochs(train(_config(), small, CPU))
    events = list(train(_config("training.evaluate=[population, batch]"), small, CPU))
    assert _epochs(events) == plain
    for epoch in (event for event in events if isinstance(event, EpochEnded)):
        assert epoch.test_acc_population is not None
        assert epoch.test_acc_batch is not None
    without = train(_config("model.norm=none", "training.evaluate=[population]"), small, CPU)
    for event in without:
        assert not isinstance(event, EpochEnded) or event.test_acc_population is None


# ---- trainings beside one another


def _assert_nothing_is_switched_on() -> None:
    assert not kernels.is_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.fixture
def three(small: Dataset, tmp_path: Path) -> dict[str, Config]:
    """Trainings that need different global switches and random numbers, in small batches."""
    try:
        kernels.is_compiled()
    except EngineError as error:
        pytest.skip(str(error))
    (tmp_path / "noisy.py").write_text(NOISY)
    shared = ("training.epochs=2", "training.batch_size=50", "optimizer.lr=0.1")
    return {
        "compiled": _config(*shared, "training.engine=compiled"),
        "noisy": _config(*shared, "training.engine=eager", f"model.norm={tmp_path}/noisy.py:Noisy"),
        "deterministic": _config(
            *shared, "training.deterministic=true", f"model.norm={tmp_path}/noisy.py:Noisy"
        ),
    }


def _last_state(events: Iterable[Event]) -> dict[str, Any]:
    *_, state = (event.state for event in events if isinstance(event, CheckpointReady))
    return {key: state[key] for key in ("model", "attributes", "optimizer", "rng", "engine")}


def test_interleaved_trainings_end_at_the_bits_that_each_has_alone(
    small: Dataset, three: dict[str, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {name: _last_state(train(config, small, CPU)) for name, config in three.items()}
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)  # an event after every step
    running: dict[str, Iterator[Event]] = {
        name: train(config, small, CPU) for name, config in three.items()
    }
    events: dict[str, list[Event]] = {name: [] for name in three}
    while running:
        for name in list(running):
            event = next(running[name], None)
            _assert_nothing_is_switched_on()
            if event is None:
                del running[name]
            else:
                events[name].append(event)
    for name in three:
        assert sum(isinstance(event, Progress) for event in events[name]) == 6
        _assert_same(_last_state(events[name]), alone[name])
    assert alone["compiled"]["engine"] == "compiled"
    assert alone["noisy"]["engine"] == "eager"


@pytest.mark.parametrize("name", ["compiled", "deterministic"])
@pytest.mark.parametrize("kind", [Progress, CheckpointReady])
def test_a_training_that_is_abandoned_leaves_nothing_switched_on(
    small: Dataset,
    three: dict[str, Config],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: type[Event],
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    events = train(three[name], small, CPU)
    for event in events:
        if isinstance(event, kind):
            break
    _assert_nothing_is_switched_on()
    events.close()
    _assert_nothing_is_switched_on()


def test_the_callers_random_numbers_stay_as_they_were(
    small: Dataset, three: dict[str, Config]
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(train(three["noisy"], small, CPU))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_training_returns_the_summary_of_its_events(small: Dataset) -> None:
    config = _config("training.epochs=2")
    events: list[Event] = []
    summary = drain(train(config, small, CPU), events.append)
    assert summary.config == config.to_dict()
    assert (summary.status, summary.norm, summary.device) == ("completed", "scratch", "cpu")
    assert list(summary.epochs) == [e for e in events if isinstance(e, EpochEnded)]
