"""The processes that train one network together, as one of them sees the others.

A launcher, such as torch's `torchrun`, starts the same command several times and says in the
environment which process is which. `joined` connects them, and leaves them cleanly. Everything that
passes between them is a method of `Processes`; where a process is alone, each method does nothing.

    with joined(launched()) as processes:
        processes.add([gradient])  # in place: now it is the sum over all processes
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bnrun.errors import ProcessError, ProcessLost

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Value = TypeVar("Value")

ANSWER_SECONDS = 60
"""Time within which the other processes must join, and later answer. A process that ends is noticed
at once, for its connections are closed; this is for a machine that is off or cut off."""
PREPARATION_SECONDS = 600
"""Time within which the others must have read the images, which may have to be fetched first."""

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_INTERFACE = "GLOO_SOCKET_IFNAME"
"""Names the network interface that torch's library gloo connects through."""


@dataclass(frozen=True)
class Launch:
    """Which process this is, of how many.

    Attributes:
        rank, size: its number, from 0 on, and how many there are on all machines.
        local_rank, local_size: the same on its machine.
        address: where they meet: `env://`, or `tcp://HOST:PORT`.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str = "env://"


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return which process a launcher has started this one as; None where it is the only one.

    Raises:
        ProcessError: the environment says only a part of it, or something else than numbers.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return None
    missing = [name for name in (*_VARIABLES, "MASTER_ADDR") if name not in environment]
    if missing:
        raise ProcessError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but {', '.join(missing)} is not in the "
            "environment. Start the processes by torchrun, which sets all of it."
        )
    try:
        rank, size, local_rank, local_size = (int(environment[name]) for name in _VARIABLES)
        return Launch(rank, size, local_rank, local_size)
    except ValueError as error:
        given = ", ".join(f"{name}={environment[name]}" for name in _VARIABLES)
        raise ProcessError(f"received {given}; these must be whole numbers.") from error


@dataclass
class Traffic:
    """What passed between the processes: calls, bytes handed over, and seconds until the answer."""

    calls: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass
class Processes:
    """The processes that train together; `ALONE` where there is only this one.

    Attributes:
        rank, size: see `Launch`.
        hosts: the name of each process's machine, by rank; empty for one process.
        local_rank, local_size: see `Launch`.
        group: torch's process group; None for that of all processes.
        store: torch's store of what processes know of one another; None for one process.
        traffic: what passed so far.
        lost: whether another process has ended, or has not answered in time; empty before.
    """

    rank: int = 0
    size: int = 1
    hosts: tuple[str, ...] = ()
    local_rank: int = 0
    local_size: int = 1
    group: Any = None
    store: Any = None
    traffic: Traffic = field(default_factory=Traffic)
    lost: Literal["", "ended", "silent"] = ""

    @property
    def is_distributed(self) -> bool:
        """Return whether there are others."""
        return self.size > 1

    @property
    def is_first(self) -> bool:
        """Return whether this process writes and shows for all of them."""
        return self.rank == 0

    def share(self, count: int, whole: int) -> slice:
        """Return this process's share of a batch of `count` images: consecutive ones.

        A full batch, of `whole` images, is cut into shares of `whole / size` images, rounded up. A
        smaller batch has shares of the same length, as far as it goes: the last may be empty.
        """
        length = -(-whole // self.size)
        return slice(min(self.rank * length, count), min((self.rank + 1) * length, count))

    def add(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by its sum over all processes, in place; one call for all of them."""
        if not self.is_distributed or not tensors:
            return
        import torch
        from torch import distributed

        together = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with self._waiting(together):
            distributed.all_reduce(together, group=self.group)
        start = 0
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(together[start : start + tensor.numel()].view_as(tensor))
                start += tensor.numel()

    def gather(self, row: "Tensor") -> "Tensor":
        """Return the vectors of all processes, of shape (size, n), by rank."""
        if not self.is_distributed:
            return row[None]
        from torch import distributed

        rows = [row.new_empty(row.shape) for _ in range(self.size)]
        with self._waiting(row):
            distributed.all_gather(rows, row.contiguous(), group=self.group)
        import torch

        return torch.stack(rows)

    def highest(self, value: float) -> float:
        """Return the highest of the processes' values, which all of them can then act on."""
        if not self.is_distributed:
            return value
        import torch

        return float(self.gather(torch.tensor([value], dtype=torch.float64)).max())

    def from_first(self, value: Value) -> Value:
        """Return the first process's value: tensors and plain data, which all then have.

        The values of the others are not read.
        """
        if not self.is_distributed:
            return value
        from torch import distributed

        values = [value]
        with self._waiting():
            distributed.broadcast_object_list(values, group=self.group, group_src=0)
        return values[0]

    def wait_for_all(self, seconds: float = PREPARATION_SECONDS) -> None:
        """Wait until all processes are here."""
        if not self.is_distributed:
            return
        from torch import distributed

        with self._waiting(seconds=seconds):
            distributed.monitored_barrier(self.group, timeout=timedelta(seconds=seconds))

    def is_first_with(self, text: str, *, all_ask: bool) -> bool:
        """Return whether no other process has asked this of the same text.

        It works also where a process has failed, and does not wait for anybody.

        Without a launcher's store, it is the first process that holds it, and it may have ended.
        Which others are left is then not known. Where all that are ask, the lowest other rank of
        each machine is the first; if that one has ended, too, none of its machine is. Where one may
        be alone with what it asks, each is: said twice is better than not said.

        Args:
            text: what they may want to say.
            all_ask: whether all processes that are left ask this.
        """
        if self.store is None:
            return True
        try:
            return bool(self.store.add(text, 1) == 1)
        except RuntimeError:
            is_with_first = self.hosts[self.rank] == self.hosts[0]
            return not all_ask or self.local_rank == 0 or (is_with_first and self.local_rank == 1)

    def wait_for_askers(self, text: str, count: int, seconds: float) -> None:
        """Wait until so many processes have asked whether they are first with a text.

        The store ends with the first process, which therefore waits for them before it ends.
        """
        end = time.monotonic() + seconds
        with contextlib.suppress(RuntimeError):  # of a launcher's store that has ended
            while self.store.add(text, 0) < count and time.monotonic() < end:
                time.sleep(0.01)

    def device(self, chosen: "torch.device") -> "torch.device":
        """Return the device of this process, where `chosen` is what the config names.

        On CUDA, each process of a machine has a GPU of its own.

        Raises:
            ProcessError: there are fewer, or the device cannot be shared out.
        """
        import torch

        if not self.is_distributed or chosen.type == "cpu":
            return chosen
        if chosen.type != "cuda" or self.local_size > torch.cuda.device_count():
            raise ProcessError(
                f"received '{chosen.type}' for {self.local_size} processes on this machine, which "
                f"has {torch.cuda.device_count()} CUDA devices; each process needs one of its own. "
                "The device cpu has no such limit.",
                key="training.device",
            )
        return torch.device("cuda", self.local_rank)

    @contextlib.contextmanager
    def _waiting(
        self, sent: "Tensor | None" = None, seconds: float | None = None
    ) -> Iterator[None]:
        """Count what is sent in the block, and convert torch's errors.

        Raises:
            ProcessLost: another process does not answer.
        """
        start = time.perf_counter()
        try:
            yield
        except RuntimeError as error:
            is_silence = any(word in str(error).lower() for word in ("timed out", "timeout"))
            self.lost = "silent" if is_silence else "ended"
            raise ProcessLost(self._sentence(seconds or ANSWER_SECONDS)) from error
        self.traffic.calls += 1
        self.traffic.bytes += 0 if sent is None else sent.numel() * sent.element_size()
        self.traffic.seconds += time.perf_counter() - start

    def _sentence(self, seconds: float) -> str:
        """Return what happened to another process, as far as it is known here."""
        others = sorted({host for rank, host in enumerate(self.hosts) if rank != self.rank})
        where = f"on {', '.join(others)}, " if others else ""
        if self.lost == "silent":
            return (
                f"another of the {self.size} processes, {where}has not answered for {seconds:.0f} "
                "s: it hangs, or its machine is off or cut off."
            )
        return f"another of the {self.size} processes, {where}has ended before its work was done."


ALONE = Processes()
"""This process, where it trains alone."""


@contextlib.contextmanager
def joined(launch: Launch | None) -> Iterator[Processes]:
    """Join the other processes inside the block; `ALONE` where there are none.

    Raises:
        ProcessError: they have not all come together within `ANSWER_SECONDS`.
    """
    if launch is None:
        yield ALONE
        return
    from torch import cuda, distributed
    from torch.distributed.rendezvous import rendezvous

    backend = "cpu:gloo,cuda:nccl" if cuda.is_available() else "gloo"
    try:
        answer = timedelta(seconds=ANSWER_SECONDS)
        meeting = rendezvous(launch.address, launch.rank, launch.size, timeout=answer)
        store, *_ = next(meeting)
        distributed.init_process_group(
            backend, store=store, timeout=answer, rank=launch.rank, world_size=launch.size
        )
        hosts: list[Any] = [None] * launch.size
        distributed.all_gather_object(hosts, socket.gethostname())
    except (RuntimeError, ValueError) as error:
        _leave()
        raise ProcessError(_not_joined(launch, str(error))) from error
    try:
        yield Processes(
            launch.rank,
            launch.size,
            tuple(hosts),
            launch.local_rank,
            launch.local_size,
            store=store,
        )
    finally:
        _leave()


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # of a connection that broke
            distributed.destroy_process_group()


def _not_joined(launch: Launch, reason: str) -> str:
    place = launch.address.removeprefix("tcp://")
    if place == "env://":
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    first = reason.strip().partition("\n")[0][:200]
    return (
        f"process {launch.rank} of {launch.size} on {socket.gethostname()} has not met the others "
        f"at {place} within {ANSWER_SECONDS} s ({first}). Check that the address is right and can "
        f"be reached from every machine; {_INTERFACE}=eth1 names the network interface to use, "
        "where a machine has several."
    )
