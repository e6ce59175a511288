"""A command that a launcher has started several times: which of its processes speaks.

The first process shows progress and results, and writes. An error that several processes meet, such
as a mistyped key, is shown once on each machine; that of another process names it.
"""

import contextlib
import hashlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bnrun.errors import INTERRUPTED, BnrunError, ConfigError, ProcessError, ProcessLost
from bnrun.processes import ALONE, Processes, joined, launched

if TYPE_CHECKING:
    from bnrun.config import Config


FIRST_WORD_SECONDS = 1.0
"""Time for the first process of a machine to say that one is lost, unless it is the lost one."""


class Launched:
    """This process among those of a command; the only one, where nothing has launched it.

    Attributes:
        leads: whether this process writes, shows progress and shows the result.
        processes: those that it has joined.
        first_signal: SIGINT or SIGTERM, whichever interrupted it first; None before.
    """

    def __init__(self) -> None:
        self._launch = launched()
        self.leads = self._launch is None or self._launch.rank == 0
        self.processes = ALONE
        self.first_signal: int | None = None

    @contextlib.contextmanager
    def joined(self) -> Iterator[Processes]:
        """Join the others inside the block. SIGTERM then is an interruption, as Ctrl-C is.

        A launcher sends SIGTERM where another process has failed, and once more after Ctrl-C.

        Raises:
            ProcessError: they do not come together.
        """
        with joined(self._launch) as self.processes:
            if self._launch is not None:
                signal.signal(signal.SIGTERM, self._interrupt)
                if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored
                    signal.signal(signal.SIGINT, self._interrupt)
            yield self.processes

    def _interrupt(self, number: int, frame: Any) -> None:
        ends_already = self.first_signal is not None or bool(self.processes.lost)
        if ends_already and number == signal.SIGTERM:
            return  # what it says must not be cut
        self.first_signal = self.first_signal or number
        raise KeyboardInterrupt

    def reports(self, error: BnrunError) -> bool:
        """Return whether this process shows an error, of those that meet it on its machine."""
        if self._launch is None:
            return True
        if self.processes.lost == "silent" or not self.processes.is_distributed:
            return self._launch.local_rank == 0  # to ask the others may be to wait forever
        host, said = socket.gethostname(), str(error)
        is_lost = isinstance(error, ProcessLost)
        if is_lost:
            said = "a process is lost"
            if self._launch.local_rank:
                time.sleep(FIRST_WORD_SECONDS)
        question = f"{host}: {said}"
        is_first = self.processes.is_first_with(question, all_ask=is_lost)
        if self._launch.rank == 0:  # the others ask of a lost one after they have slept
            left, times = self.processes.local_size - is_lost, 1 + is_lost
            self.processes.wait_for_askers(question, left, times * FIRST_WORD_SECONDS)
        if not is_first:
            return False
        if self._launch.rank:
            error.source = f"process {self._launch.rank} of {self._launch.size} on {host}"
        return True


@contextlib.contextmanager
def report_once() -> Iterator[Launched]:
    """Keep the processes of a command from repeating what one of them says."""
    here = Launched()
    try:
        yield here
    except KeyboardInterrupt as interruption:
        if not here.leads:
            raise typer.Exit(INTERRUPTED) from None
        if here.first_signal == signal.SIGTERM:
            raise KeyboardInterrupt(
                "by SIGTERM, which a launcher also sends where another process has failed. "
                f"{interruption}"
            ) from None
        raise
    except BnrunError as error:
        if here.reports(error):
            raise
        raise typer.Exit(error.exit_code) from None


def require_alone(command: str) -> None:
    """Check that a command which does not share its work was not started several times.

    Raises:
        ProcessError: it was.
    """
    with report_once():
        launch = launched()
        if launch is not None:
            raise ProcessError(
                f"`bnrun {command}` was started {launch.size} times, but only `bnrun train` "
                f"can share its work. Start it without the launcher: bnrun {command}"
            )


def require_same(config: "Config", processes: Processes) -> None:
    """Check that this process has the config of the first one, and the same file of the norm.

    Raises:
        ConfigError: it has another.
    """
    from bnrun.config.difference import config_difference

    own = config.to_dict(), _norm_digest(config)
    values, digest = processes.from_first(own)
    keys = [pair.key for pair in config_difference(values, own[0])]
    if not keys and digest != own[1]:
        keys = [f"the content of {config.model.norm}"]
    if keys:
        raise ConfigError(
            f"{', '.join(keys)} differ{'s' if len(keys) == 1 else ''} from the first process's "
            "config. Start the same command everywhere, with the same files in the same places."
        )


def _norm_digest(config: "Config") -> str | None:
    """Return the SHA-256 of the file of a user's norm; None without one, or where it is missing."""
    from bnrun.norms.user_module import content_of, file_of

    source = config.model.norm_source
    file = Path(source.copy) if source.copy else file_of(source.norm)
    if file is None or not file.is_file():
        return None
    return hashlib.sha256(content_of(file)).hexdigest()
