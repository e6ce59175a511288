"""What one of several processes checks and shows, without a launcher."""

import signal
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from bnrun.cli import launched
from bnrun.cli.launched import Launched, report_once, require_same
from bnrun.cli.train import _what_is_kept
from bnrun.config import Config, parse_override, resolve
from bnrun.errors import BnrunError, ConfigError, ProcessLost
from bnrun.processes import ALONE, Launch, Processes
from bnrun.runs import create


@dataclass
class Second(Processes):
    """A process beside the first one, which has sent its value already."""

    sent: Any = None

    def from_first(self, value: Any) -> Any:
        self.sent = self.sent or value
        return self.sent


def _config(*overrides: str) -> Config:
    return resolve(None, [one for text in overrides for one in parse_override(text)]).config


def test_the_configs_of_processes_must_be_the_same_and_so_must_the_files_of_their_norm(
    tmp_path: Path,
) -> None:
    file, processes = tmp_path / "mine.py", Second()
    config = _config(f"model.norm={file}:Mine")
    file.write_text("class Mine: momentum = 0.1")
    require_same(config, processes)  # as the first process does
    require_same(config, processes)
    with pytest.raises(ConfigError, match=r"^training\.seed differs from the first"):
        require_same(_config(f"model.norm={file}:Mine", "training.seed=7"), processes)
    file.write_text("class Mine: momentum = 0.2")
    with pytest.raises(ConfigError, match=r"^the content of \S+mine\.py:Mine differs from the"):
        require_same(config, processes)
    file.unlink()
    with pytest.raises(ConfigError, match="with the same files in the same places"):
        require_same(config, processes)


@pytest.mark.parametrize(
    ("signals", "says"),
    [
        ((signal.SIGINT, signal.SIGTERM), "kept"),  # torchrun sends both after Ctrl-C
        ((signal.SIGTERM, signal.SIGTERM), "by SIGTERM, which a launcher also sends where another"),
    ],
)
def test_sigterm_is_named_where_it_came_first(signals: tuple[int, int], says: str) -> None:
    first, second = signals
    with pytest.raises(KeyboardInterrupt, match=f"^{says}"), report_once() as here:
        try:
            here._interrupt(first, None)
        except KeyboardInterrupt:
            here._interrupt(second, None)  # does not cut what is done at the end
            raise KeyboardInterrupt("kept") from None


def test_a_launchers_sigterm_does_not_cut_the_words_about_a_lost_process() -> None:
    here = Launched()
    here.processes = Processes(size=2)
    with pytest.raises(ProcessLost), here.processes._waiting():
        raise RuntimeError("Connection closed by peer")
    here._interrupt(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        here._interrupt(signal.SIGINT, None)


class Store:
    """Counts, as torch's store does, for all processes."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, key: str, amount: int) -> int:
        self._counts[key] += amount
        return self._counts[key]


def test_a_lost_process_is_told_by_the_first_of_a_machine_or_else_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launched, "FIRST_WORD_SECONDS", 0)

    def speakers(ranks: tuple[int, ...], lost: Literal["ended", "silent"]) -> list[int]:
        store, found = Store(), []
        for rank in ranks:
            here = Launched()
            here._launch = Launch(rank, 4, rank, 4)
            here.processes = Processes(rank, 4, store=store, lost=lost)
            kept = " 1 epoch is kept." if rank == 0 else ""
            if here.reports(ProcessLost(f"another process has ended.{kept}")):
                found.append(rank)
        return found

    assert speakers((0, 1, 2), "ended") == [0]
    assert speakers((1, 2, 3), "ended") == [1]
    assert speakers((0, 1, 2), "silent") == [0]


class EndedStore(Store):
    """Of the first process, which is killed."""

    def add(self, key: str, amount: int) -> int:
        raise RuntimeError("Connection reset by peer")


@pytest.mark.parametrize(
    ("error", "speakers"),
    [
        (ProcessLost("another process has ended."), [1, 4]),  # one of each machine
        (ConfigError("no", key="training.epochs"), [1, 2, 3, 4, 5]),  # one may be alone with it
    ],
)
def test_where_the_store_has_ended_one_process_of_each_machine_tells_of_a_lost_one(
    error: BnrunError, speakers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launched, "FIRST_WORD_SECONDS", 0)
    hosts, found = ("alpha",) * 4 + ("beta",) * 2, []
    for rank, local_rank, local_size in ((1, 1, 4), (2, 2, 4), (3, 3, 4), (4, 0, 2), (5, 1, 2)):
        here = Launched()
        here._launch = Launch(rank, 6, local_rank, local_size)
        here.processes = Processes(rank, 6, hosts, local_rank, local_size, store=EndedStore())
        if here.reports(error):
            found.append(rank)
    assert found == speakers


@pytest.mark.parametrize(
    ("error", "question", "size"),
    [
        (ConfigError("no", key="training.epochs"), "training.epochs: no", 2),
        (ProcessLost("another process has ended."), "a process is lost", 3),  # one is lost
    ],
)
def test_the_first_process_lets_the_others_ask_before_its_store_ends_with_it(
    error: BnrunError, question: str, size: int
) -> None:
    """Else a slower one gets no answer, and says the same once more."""

    class Asked(Store):
        times = 0

        def add(self, key: str, amount: int) -> int:
            self.times += 1
            return super().add(key, int(self.times == 4))  # the other process asks at last

    store, here = Asked(), Launched()
    store._counts.update({f"{socket.gethostname()}: {question}": 1})
    here._launch = Launch(0, size, 0, size)
    here.processes = Processes(0, size, local_size=size, store=store)
    here.reports(error)
    assert store.times == 4


def test_a_run_of_several_processes_continues_by_the_launcher(tmp_path: Path) -> None:
    with create(tmp_path, resolve(None)) as run:
        command = f"bnrun train --resume {run.path}"
        assert str(_what_is_kept(run, ALONE)).endswith(f"continue with:\n{command}")
        commands = f"torchrun --nproc-per-node 2 -m {command}\nor with one process:\n{command}"
        one_machine = str(_what_is_kept(run, Processes(size=2, local_size=2)))
        assert one_machine.endswith(f"; continue with:\n{commands}")
        two_machines = str(_what_is_kept(run, Processes(size=4, local_size=2)))
        assert two_machines.endswith(
            f"; continue, on each machine with its launcher's options, with:\n{commands}"
        )
