"""The OpenMP runtime that torch has loaded, for the kernels to run on the same threads.

The kernels are not linked with a runtime of their own: two in one process would each start threads
and wait for one another.
"""

import ctypes
import os
import re
import sys
from functools import cache
from pathlib import Path

HARD_PAUSE = 2
"""`omp_pause_hard` of omp.h."""

_RUNTIME = re.compile(rb"lib(gomp|iomp5|omp)\b")


def share_threads_of_torch() -> None:
    """Make the symbols of torch's OpenMP runtime visible to libraries that are loaded next.

    Raises:
        OSError: it cannot be opened again.
    """
    import torch  # noqa: F401  (which loads the runtime)

    for path in _runtimes():  # the first one counts
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def end_waiting_threads() -> None:
    """End the threads that OpenMP keeps between two parallel loops; the next loop starts others.

    With OMP_WAIT_POLICY=active they spin for minutes, and so take the processor from others. Ending
    and starting them takes some .1 ms a thread. Without OpenMP 5.0 (GCC 9) nothing happens.
    """
    for runtime in _pausable_runtimes():
        runtime.omp_pause_resource_all(HARD_PAUSE)


@cache
def _pausable_runtimes() -> tuple[ctypes.CDLL, ...]:
    if sys.platform != "linux":
        return ()
    runtimes = map(ctypes.CDLL, _runtimes())
    return tuple(one for one in runtimes if hasattr(one, "omp_pause_resource_all"))


def _runtimes() -> list[str]:
    """Return the paths of the OpenMP runtimes in this process, torch's own first."""
    paths = [path for path in loaded_libraries() if _RUNTIME.match(path.rpartition(b"/")[2])]
    return [os.fsdecode(path) for path in sorted(paths, key=lambda path: b"/torch" not in path)]


def loaded_libraries() -> list[bytes]:
    """Return the paths of the files in this process's memory, each once, by their addresses.

    The loader itself would list them to a callback, inside its lock. A callback in Python may have
    to wait there for Python's lock, which a thread that loads a library holds: a deadlock.
    """
    lines = Path("/proc/self/maps").read_bytes().split(b"\n")
    fields = [line.split(None, 5) for line in lines]  # the path is the sixth, and may hold blanks
    paths = [found[5].replace(rb"\012", b"\n") for found in fields if len(found) > 5]
    return list(dict.fromkeys(path for path in paths if path.startswith(b"/")))
