"""A command that a launcher has started several times: which of its processes speaks.

The first process shows progress and results, and writes. An error that several processes meet, such
as a mistyped key, is shown once on each machine; that of another process names it.
"""

import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from bnrun.errors import INTERRUPTED, BnrunError, ConfigError, ProcessError, ProcessLost
from bnrun.processes import ALONE, Processes, joined, launched

if TYPE_CHECKING:
    from bnrun.config import Config


class Launched:
    """This process among those of a command; the only one, where nothing has launched it.

    Attributes:
        leads: whether this process writes, shows progress and shows the result.
        processes: those that it has joined.
        was_terminated: whether it was sent SIGTERM since.
    """

    def __init__(self) -> None:
        self._launch = launched()
        self.leads = self._launch is None or self._launch.rank == 0
        self.processes = ALONE
        self.was_terminated = False

    @contextlib.contextmanager
    def joined(self) -> Iterator[Processes]:
        """Join the others inside the block. SIGTERM then is an interruption, as Ctrl-C is.

        A launcher ends processes by SIGTERM after Ctrl-C, too, and where another one has failed.

        Raises:
            ProcessError: they do not come together.
        """
        with joined(self._launch) as self.processes:
            if self._launch is not None:
                signal.signal(signal.SIGTERM, self._interrupt)
            yield self.processes

    def _interrupt(self, number: int, frame: Any) -> None:
        self.was_terminated = True
        raise KeyboardInterrupt

    def tells(self, error: BnrunError) -> bool:
        """Return whether this process shows an error, of those that meet it on its machine."""
        if self._launch is None:
            return True
        if isinstance(error, ProcessLost) or not self.processes.are_many:
            return self._launch.local_rank == 0
        host = socket.gethostname()
        if not self.processes.is_first_with(f"{host}: {error}"):
            return False
        if self._launch.rank:
            error.source = f"process {self._launch.rank} of {self._launch.size} on {host}"
        return True


@contextlib.contextmanager
def one_voice() -> Iterator[Launched]:
    """Keep the processes of a command from repeating what one of them says."""
    here = Launched()
    try:
        yield here
    except KeyboardInterrupt as interruption:
        if not here.leads:
            raise typer.Exit(INTERRUPTED) from None
        if here.was_terminated:
            raise KeyboardInterrupt(
                "by SIGTERM, which a launcher also sends where another process has failed. "
                f"{interruption}"
            ) from None
        raise
    except BnrunError as error:
        if here.tells(error):
            raise
        raise typer.Exit(error.exit_code) from None


def require_alone(command: str) -> None:
    """Check that a command which does not share its work was not started several times.

    Raises:
        ProcessError: it was.
    """
    with one_voice():
        launch = launched()
        if launch is not None:
            raise ProcessError(
                f"`bnrun {command}` was started {launch.size} times; of bnrun's commands, train "
                f"alone shares its work. Start it without the launcher: bnrun {command}"
            )


def require_same(config: "Config", processes: Processes) -> None:
    """Check that this process has the config of the first one.

    Raises:
        ConfigError: it has another.
    """
    from bnrun.config.difference import config_difference

    first = processes.from_first(config.to_dict())
    keys = [pair.key for pair in config_difference(first, config.to_dict())]
    if keys:
        raise ConfigError(
            f"{', '.join(keys)} differ{'s' if len(keys) == 1 else ''} from the first process's "
            "config. Start the same command everywhere, with the same files in the same places."
        )
