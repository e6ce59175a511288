"""The directory of a run: made, written while the run trains, and opened again to continue.

    runs/<UTC time>-<config name>-<norm>-s<seed>/
        config.yaml       the resolved config
        norm/             a copy of the norm's file, where it is a user's own
        environment.json  versions, device, threads, command, git state
        metrics.jsonl     one event a line, as it happens
        checkpoint.pt     the state after the last finished epoch; replaced atomically
        checkpoint-epoch-<n>.pt     after epoch n, where `training.keep_every` keeps it
        summary.json      the result, once there is one

An epoch is written to the checkpoint first and then to the metrics, and metrics are only ever
added to. So whatever a killed process leaves behind, the run can continue from it.
"""

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bnrun.config import Config, Resolved, resolve
from bnrun.config.difference import config_difference
from bnrun.config.schema import NormSource
from bnrun.environment import describe
from bnrun.errors import ConfigError, EngineError, RunError
from bnrun.events import CheckpointReady, EpochEnded, Event, RunStarted
from bnrun.locks import Busy, Lock
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.checkpoint_files import LAST, epoch_file, read_last_checkpoint, serialize
from bnrun.runs.metrics_file import NAME as METRICS
from bnrun.runs.metrics_file import MetricsFile
from bnrun.runs.new_directory import make_directory
from bnrun.runs.norm_files import FOLDER as NORM
from bnrun.runs.norm_files import config_with_norm, keep_norm
from bnrun.training_summary import Summary, planned

LOCK = ".lock"


class Run:
    """A run's directory, locked for writing within a `with` block.

        with run:
            for event in events:
                run.record(event)

    Leaving the block writes `summary.json`, whatever ended it: its status is `interrupted` after
    Ctrl-C, and `failed` after another exception.

    Attributes:
        path, config: the directory, and the config of the run in it.
        continue_command: the command that continues the run, for error messages.
        summary: the result so far; None before the first event.
    """

    def __init__(self, path: Path, config: Config, continue_command: str | None = None) -> None:
        self.path = path
        self.config = config
        quoted = shlex.quote(str(path))
        self.continue_command = continue_command or f"bnrun train --resume {quoted}"
        self.summary: Summary | None = None
        self._metrics = MetricsFile(path)
        self._lock = Lock(path / LOCK)
        self._is_extended = False

    def extend(self, epochs: int) -> None:
        """Plan another number of epochs; `config.yaml` says so once the training starts."""
        self.config = self.config.with_training(epochs=epochs)
        self._is_extended = True

    def lock(self) -> None:
        """Keep other processes from training in this directory until the `with` block ends.

        Raises:
            RunError: another process is training in it, or it cannot be written.
        """
        try:
            self._lock.acquire()
        except Busy as error:
            raise RunError(f"{self.path}: another process is training in this run.") from error
        except OSError as error:
            raise self._unwritable(LOCK, error) from error

    def __enter__(self) -> Self:
        self.lock()
        return self

    def record(self, event: Event) -> None:
        """Write an event: to the metrics, or to the checkpoint; and fold it into the summary.

        Raises:
            RunError: a file cannot be written.
        """
        match event:
            case CheckpointReady():
                self._write_checkpoint(event)
            case RunStarted():
                self.summary = planned(self.config.to_dict(), str(self.path)).with_event(event)
                self._start(event)
            case _:
                if self.summary is not None:
                    self.summary = self.summary.with_event(event)
                self._append(event)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.summary is None:
                return
            if isinstance(error, Exception):
                self.summary = self.summary.with_failure(str(error))
            self._replace("summary.json", _json(self.summary.to_dict()))
        except RunError:
            if error is None:  # otherwise the first error is the one to report
                raise
        finally:
            self._lock.release()

    def _start(self, event: RunStarted) -> None:
        """Write the environment, the lines that a killed process did not write, and a line."""
        environment = describe(event.device, event.machine) | {
            "kernels": _kernels(event),
            "processes": event.processes,
            "hosts": list(event.hosts),
        }
        if not (self.path / "environment.json").exists():
            self._replace("environment.json", _json(environment))
        self._write(NORM, lambda: keep_norm(self.path, self.config, len(event.finished)))
        self._complete_metrics(event.finished)
        self._append(event, environment=environment)
        if self._is_extended:  # after that line: killed in between, the run is still as it was
            kept = resolve(self.path / "config.yaml").config  # its norm may be taken from a copy
            planned = kept.with_training(epochs=self.config.training.epochs)
            self._replace("config.yaml", planned.yaml().encode())

    def _complete_metrics(self, finished: tuple[EpochEnded, ...]) -> None:
        """Bring the metrics to where the checkpoint is: it may be one epoch ahead of them."""
        self._write(METRICS, self._metrics.drop_partial_line)
        for epoch in finished[self._metrics.count_epochs() :]:
            self._append(epoch)

    def _write_checkpoint(self, event: CheckpointReady) -> None:
        content, every = serialize(event.state), self.config.training.keep_every
        if every and event.epoch % every == 0:
            self._replace(epoch_file(event.epoch), content)
        self._replace(LAST, content)

    def _append(self, event: Event, **details: Any) -> None:
        self._write(METRICS, lambda: self._metrics.append(event, **details))

    def _replace(self, name: str, content: bytes) -> None:
        self._write(name, lambda: write_atomically(self.path / name, content))

    def _write(self, name: str, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise self._unwritable(name, error) from error

    def _unwritable(self, name: str, error: OSError) -> RunError:
        return RunError(
            f"{self.path / name} can't be written: {error.strerror or error}. What was there "
            f"before is whole. Fix: make room or allow writing, then `{self.continue_command}`."
        )


def create(out: Path, resolved: Resolved) -> Run:
    """Make a new run directory below `out`, with the resolved config in it.

    Raises:
        RunError: the directory cannot be made or written.
    """
    config = resolved.config
    norm = config.model.norm.rpartition(":")[2]  # the class, where the norm is a user's own
    stem = f"{resolved.name}-{norm}-s{config.training.seed}"
    return Run(make_directory(out, stem, "config.yaml", config.yaml()), config)


def reopen(
    path: Path,
    continue_command: str | None = None,
    epochs: int | None = None,
    norm: str | None = None,
    on_notice: Callable[[str], object] = lambda notice: None,
    source: NormSource | None = None,
) -> tuple[Run, Mapping[str, Any] | None]:
    """Lock a run to continue it; return it with its checkpoint, None where no epoch was finished.

    Args:
        path: the run's directory.
        continue_command: see `Run`.
        epochs: how many epochs the run shall have, in place of what its config says.
        norm, on_notice: see `config_with_norm`.
        source: where to load the norm from, instead.

    Raises:
        ConfigError: its config.yaml is not acceptable, or more epochs are finished than planned.
        RunError: another process is training in it; or its checkpoint is missing, damaged, or of
            another config. Nothing is written then.
    """
    config = resolve(path / "config.yaml").config
    if source is None:
        config = config_with_norm(path, config, norm, on_notice)
    else:
        config = config.with_norm_source(source)
    run = Run(path, config, continue_command)
    run.lock()  # before the checkpoint is read: another process may be writing the next one
    checkpoint = read_last_checkpoint(path)
    if epochs is not None and epochs != run.config.training.epochs:
        run.extend(epochs)
    if checkpoint is not None:
        _refuse_other_config(path, checkpoint, run.config)
        _refuse_fewer_epochs(path, len(checkpoint["epochs"]), run.config)
    return run, checkpoint


def _refuse_other_config(path: Path, checkpoint: Mapping[str, Any], config: Config) -> None:
    """Refuse a checkpoint that was trained with another config than the directory's.

    The number of epochs may differ: the run is then trained longer than was planned.

    Raises:
        RunError: it was.
    """
    # An older version may not have known a key; it then did what today's default does.
    trained = {
        section: values | checkpoint["config"].get(section, {})
        for section, values in Config().to_dict().items()
    }
    keys = [pair.key for pair in config_difference(trained, config.to_dict())]
    keys = [key for key in keys if key != "training.epochs"]
    if keys:
        raise RunError(
            f"{path / LAST} is from another config: {', '.join(keys)} "
            f"differ{'s' if len(keys) == 1 else ''} from {path / 'config.yaml'}. Put the config "
            "back, or start a new run."
        )


def _refuse_fewer_epochs(path: Path, finished: int, config: Config) -> None:
    """Refuse a plan of fewer epochs than the run has finished.

    Raises:
        ConfigError: there are more.
    """
    if finished > config.training.epochs:
        raise ConfigError(
            f"received {config.training.epochs}, but {path} has finished {finished}: its weights "
            f"are those after epoch {finished}. Ask for {finished + 1} or more to train it longer.",
            key="training.epochs",
        )


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _kernels(event: RunStarted) -> dict[str, Any] | None:
    """Return what the kernels of a run were compiled for; None where it uses none."""
    if (event.engine, event.device) == ("compiled", "cpu"):
        from bnrun import kernels  # torch is loaded by now

        with contextlib.suppress(EngineError):
            if kernels.is_compiled():
                return dataclasses.asdict(kernels.describe_build())
    return None
