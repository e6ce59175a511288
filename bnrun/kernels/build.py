"""The kernels as a shared library: compiled once on a machine, kept in the cache, and loaded.

They are compiled for the processor of this machine by its C++ compiler, which takes a second or
two. The library's name in bnrun's cache is a digest of the source, the flags, the compiler's path
and the processor. It does not need C++'s own runtime library, and runs on torch's threads.

Loading a library runs its code. So it is loaded only if nobody else can have written it: see
`file_ownership.py`.
"""

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from bnrun.errors import EngineError
from bnrun.kernels.file_ownership import NotPrivate, is_private_file, require_private_folder
from bnrun.kernels.openmp import share_threads_of_torch
from bnrun.paths import cache_root

SOURCE = Path(__file__).parent
SOURCE_SUFFIXES = {".cpp", ".h"}
COMPILERS = ("c++", "g++")
COMPILER_SECONDS = 120
"""Time limit of one run of the compiler."""

# Sums may be computed in any order, which SIMD needs. Unlike -ffast-math, these flags keep
# infinities and not-a-number as they are.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-fopenmp", "-fno-exceptions", "-fno-rtti"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)


def is_compiled() -> bool:
    """Return whether the cache holds the kernels for this machine, in a file that may be loaded.

    Raises:
        EngineError: they cannot be compiled or loaded on this machine.
    """
    library = _library_path()
    try:
        return library.is_file() and is_private_file(library)
    except OSError:  # its folder may not be searched, or another process has just removed it
        return False


@cache
def load() -> ctypes.CDLL:
    """Return the library of the kernels, after compiling it if the cache does not hold it.

    Raises:
        EngineError: the system is not Linux, there is no compiler, the compiler fails, or the
            cache folder cannot be written, or can be written by others.
    """
    if not is_compiled():
        _compile(_library_path())
    try:
        share_threads_of_torch()
        return ctypes.CDLL(str(_library_path()))
    except OSError as error:
        raise _error(f"the compiled kernels can't be loaded: {error}.") from error


def _error(reason: str) -> EngineError:
    return EngineError(reason, "training.engine")


@cache
def _library_path() -> Path:
    """Return where the library is, or will be.

    Raises:
        EngineError: it cannot be compiled here, or others may write to its folder.
    """
    if sys.platform != "linux":
        raise _error("the kernels of the engine compiled are for Linux alone; take eager.")
    content = [path.read_bytes() for path in sorted(SOURCE.iterdir()) if _is_source(path)]
    content += [" ".join(FLAGS).encode(), os.fsencode(_compiler()), _processor()]
    digest = hashlib.sha256(b"\0".join(content)).hexdigest()
    folder = (cache_root() / "kernels").resolve()
    _require_private(folder)
    return folder / f"{digest[:20]}.so"


def _require_private(folder: Path) -> None:
    try:
        require_private_folder(folder)
    except NotPrivate as error:
        raise _error(f"compiled code is loaded only from a private folder: {error}.") from error


def _is_source(path: Path) -> bool:
    return path.suffix in SOURCE_SUFFIXES


def _compiler() -> str:
    """Return the path of the C++ compiler: the one that CXX names, or the system's.

    Raises:
        EngineError: the machine has no C++ compiler, or not the one that CXX names.
    """
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise _error(
        f"compiling needs a C++ compiler, and there is no {wanted or 'c++'}. On Debian and Ubuntu: "
        "apt install g++. Or name yours in the environment variable CXX, or take the engine eager."
    )


def _processor() -> bytes:
    """Return the lines of /proc/cpuinfo that identify this kind of processor."""
    lines = set(Path("/proc/cpuinfo").read_bytes().splitlines())
    kind = re.compile(rb"(model name|flags|Features|CPU part)\s*:")
    return platform.machine().encode() + b"\n".join(sorted(filter(kind.match, lines)))


def _compile(library: Path) -> None:
    """Compile the kernels into a private folder, and move them to their place when whole.

    Raises:
        EngineError: the compiler fails, or the folder cannot be written.
    """
    try:
        library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(library.parent)  # another user may have made it since the first check
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            compiled, linked = Path(folder, "kernels.o"), Path(folder, "kernels.so")
            source = str(SOURCE / "kernels.cpp")
            _run_compiler(*FLAGS, "-c", source, "-o", str(compiled))
            # Not linked with OpenMP's runtime: its symbols are those that torch has loaded.
            _run_compiler("-shared", str(compiled), "-o", str(linked))
            linked.chmod(0o700)
            linked.replace(library)
    except OSError as error:
        raise _error(
            f"the kernels can't be compiled into {library.parent}: {error.strerror or error}. "
            "The environment variable BNRUN_CACHE names another cache folder."
        ) from error


def _run_compiler(*arguments: str) -> None:
    compiler = _compiler()
    try:
        done = subprocess.run(
            [compiler, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise _error(f"{compiler} has not compiled the kernels in {COMPILER_SECONDS} s.") from None
    if done.returncode != 0:
        message = (done.stderr.strip().splitlines() or ["it gives no reason"])[0]
        raise _error(f"{compiler} can't compile the kernels: {message}.")
