"""Ctrl-C always says a word, whatever the command is doing."""

import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from bnrun.cli import guide
from bnrun.cli.interruption import interruptible, loading
from bnrun.events import Activity
from bnrun.show import console

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def usual_ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: a script in the background has its children ignore it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def _ctrl_c(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_command_that_keeps_nothing_says_so(
    bnrun_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guide, "known_value", _ctrl_c)
    done = bnrun_here("guide", "train")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: nothing was kept; run the command again to start over.\n"


def test_a_second_ctrl_c_does_not_cut_the_words(
    bnrun_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guide, "known_value", _ctrl_c)
    show_notice = console.show_notice

    def interrupted_notice(text: str) -> None:
        _ctrl_c()
        show_notice(text)

    monkeypatch.setattr(console, "show_notice", interrupted_notice)
    done = bnrun_here("guide", "train")
    assert (done.returncode, done.stderr.startswith("interrupted: ")) == (130, True)


def test_what_is_kept_is_said_as_it_is_when_ctrl_c_comes() -> None:
    done = 0
    with pytest.raises(KeyboardInterrupt, match="2 epochs are kept"):  # noqa: SIM117
        with interruptible(lambda: f"{done} epochs are kept"):
            done = 2
            raise KeyboardInterrupt


class _Screen:
    def __init__(self) -> None:
        self.activities: list[str] = []

    def show(self, event: object) -> None:
        assert isinstance(event, Activity)
        self.activities.append(event.name)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_waits_until_torch_is_loaded_and_a_second_one_does_not(
    times: int,
) -> None:
    screen, steps = _Screen(), []
    with pytest.raises(KeyboardInterrupt), loading(screen, "torch"):
        for number in range(times):
            _ctrl_c()
            steps.append(number)
    assert steps == [0]
    assert screen.activities == ["loading torch", "interrupted; waiting until torch is loaded"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
