"""One way to lock: one process at a time works in a folder, and anybody may ask whether one does.

Asking must never make work fail. Two lock files see to that:

    .lock.claim   taken first, and only by processes that want to work here: whoever finds it
                  taken has met another worker, and knows so at once
    .lock         held by the worker as long as it works; askers try a shared lock on it

A worker may find `.lock` taken by an asker, but never for long, so it waits. Several askers share
the lock, and do not mistake one another for a worker. The operating system releases both files when
a process ends, however it ends. It keeps them across machines, too, where the file system does
(NFS does). Older versions of bnrun took `.lock` alone, which is still respected.
"""

import os
import sys
from pathlib import Path

import filelock

if sys.platform != "win32":
    import fcntl

ASKER_SECONDS = 5.0
"""How long a worker waits for askers, of which each holds the lock for microseconds."""


class Busy(Exception):
    """Another process works under this lock."""


class Lock:
    """A lock that one process holds at a time, or one `Lock` of a process.

    Args:
        file: the lock file; it is created, with another one beside it, and never removed.
    """

    def __init__(self, file: Path) -> None:
        claim = file.with_name(f"{file.name}.claim")
        # Not local to a thread: another one may release it, such as a garbage collector's.
        self._claim = filelock.FileLock(claim, thread_local=False)
        self._lock = filelock.FileLock(file, thread_local=False)

    def acquire(self, *, wait: bool = False) -> None:
        """Take the lock, or keep it where this object has it.

        Args:
            wait: whether to wait until the other worker is done.

        Raises:
            Busy: another worker has it.
            OSError: a lock file cannot be written.
        """
        if self._lock.is_locked:
            return
        try:
            self._claim.acquire(timeout=-1 if wait else 0)
            self._lock.acquire(timeout=-1 if wait else ASKER_SECONDS, poll_interval=0.01)
        except filelock.Timeout as error:
            self.release()
            raise Busy(error.lock_file) from error
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back, if this object has it."""
        self._lock.release(force=True)
        self._claim.release(force=True)


def is_held(file: Path) -> bool:
    """Return whether a process holds the lock of this file.

    This creates no file and disturbs nobody. The answer is False where it is unknown: the file may
    not be read, or its file system has no locks.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _is_exclusively_locked(descriptor, file)
    finally:
        os.close(descriptor)


if sys.platform != "win32":

    def _is_exclusively_locked(descriptor: int, file: Path) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # some file systems say EACCES
            return True
        except OSError:
            return False
        return False  # closing the descriptor gives the shared lock back

else:

    def _is_exclusively_locked(descriptor: int, file: Path) -> bool:
        asker = filelock.FileLock(file)  # Windows has no shared lock to ask with
        try:
            asker.acquire(timeout=0)
        except filelock.Timeout:
            return True
        asker.release()
        return False
