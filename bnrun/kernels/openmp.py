"""The OpenMP runtime that torch has loaded, for the kernels to run on the same threads.

The kernels are not linked with a runtime of their own: two in one process would each start threads
and wait for one another.
"""

import ctypes
import os
import re
import sys
from functools import cache
from typing import Any

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


class _LibraryInfo(ctypes.Structure):
    """The first fields of `struct dl_phdr_info`; see `man dl_iterate_phdr`."""

    _fields_ = (("address", ctypes.c_void_p), ("path", ctypes.c_char_p))


def loaded_libraries() -> list[bytes]:
    """Return the paths of the shared libraries in this process, as the dynamic loader has them.

    Unlike the lines of /proc/self/maps they need no parsing, so a path may hold any character.
    """
    paths: list[bytes] = []

    def add(info: Any, size: int, data: Any) -> int:
        paths.append(info.contents.path or b"")
        return 0

    callback = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(_LibraryInfo), ctypes.c_size_t, ctypes.c_void_p
    )
    ctypes.CDLL(None).dl_iterate_phdr(callback(add), None)
    return paths
