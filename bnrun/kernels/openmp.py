"""The OpenMP runtime that torch has loaded, for the kernels to run on the same threads.

The kernels are not linked with a runtime of their own: two in one process would each start threads
and wait for one another.
"""

import ctypes
import os
import re
from typing import Any

_RUNTIME = re.compile(rb"lib(gomp|iomp5|omp)\b")


def share_threads_of_torch() -> None:
    """Make the symbols of torch's OpenMP runtime visible to libraries that are loaded next.

    Raises:
        OSError: it cannot be opened again.
    """
    import torch  # noqa: F401  (which loads the runtime)

    runtimes = [path for path in loaded_libraries() if _RUNTIME.match(path.rpartition(b"/")[2])]
    for path in sorted(runtimes, key=lambda path: b"/torch" not in path):  # the first one counts
        ctypes.CDLL(os.fsdecode(path), mode=ctypes.RTLD_GLOBAL)


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
