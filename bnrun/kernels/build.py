"""The kernels as a library in this process: compiled once on a machine, and kept.

They are compiled for the very processor that they run on, by the C++ compiler that is there (a
second or two), and kept in bnrun's cache under a name that changes with the source, the compiler's
path and the processor. They need none of C++'s own library, and share the threads that torch runs.
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
from bnrun.paths import cache_root

SOURCE = Path(__file__).parent
COMPILERS = ("c++", "g++")
COMPILE_SECONDS = 120
# Sums may be taken in any order, as SIMD needs; what is not finite stays so, which -ffast-math
# would not promise.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-fopenmp", "-fno-exceptions", "-fno-rtti"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)


def is_compiled() -> bool:
    """Tell whether the kernels lie compiled in the cache.

    Raises:
        EngineError: they can't be, on this machine.
    """
    return _place().is_file()


@cache
def load() -> ctypes.CDLL:
    """Return the library, compiled first where it is not yet.

    Raises:
        EngineError: there is no compiler, or it fails, or the system is not Linux.
    """
    place = _place()
    if not place.is_file():
        _compile(place)
    try:
        _share_threads()
        return ctypes.CDLL(str(place))
    except OSError as error:
        raise EngineError(f"training.engine: the compiled kernels don't load: {error}.") from error


@cache
def _place() -> Path:
    """Return where the library lies, or will."""
    if sys.platform != "linux":
        raise EngineError("training.engine: compiled kernels for the CPU are there on Linux alone.")
    made_of = [path.read_bytes() for path in sorted(SOURCE.iterdir()) if path.suffix in _SOURCES]
    made_of += [" ".join(FLAGS).encode(), _compiler().encode(), _processor().encode()]
    digest = hashlib.sha256(b"\0".join(made_of)).hexdigest()
    return cache_root() / "kernels" / f"{digest[:20]}.so"


_SOURCES = {".cpp", ".h"}


def _compiler() -> str:
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise EngineError(
        f"training.engine: compiling needs a C++ compiler, and there is no {wanted or 'c++'}. "
        "On Debian and Ubuntu: apt install g++; or name yours in CXX; or take the engine eager."
    )


def _processor() -> str:
    """Return what tells this kind of processor from others."""
    with Path("/proc/cpuinfo").open() as lines:
        told = {
            line for line in lines if re.match(r"(model name|flags|Features|CPU part)\s*:", line)
        }
    return platform.machine() + "".join(sorted(told))


def _compile(place: Path) -> None:
    """Compile the kernels; what is at the place is always whole."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            compiled, linked = Path(folder, "kernels.o"), Path(folder, "kernels.so")
            source = str(SOURCE / "kernels.cpp")
            _run([_compiler(), *FLAGS, "-c", source, "-o", str(compiled)])
            # Linked without OpenMP's runtime: its symbols are those that torch has loaded.
            _run([_compiler(), "-shared", str(compiled), "-o", str(linked)])
            linked.replace(place)
    except OSError as error:
        raise EngineError(
            f"training.engine: the kernels can't be compiled into {place.parent}: "
            f"{error.strerror or error}. BNRUN_CACHE names another cache folder."
        ) from error


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=COMPILE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"training.engine: {command[0]} has not compiled the kernels in {COMPILE_SECONDS} s."
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no word"])[0]
        raise EngineError(f"training.engine: {command[0]} can't compile the kernels: {said}.")


def _share_threads() -> None:
    """Let the kernels find the OpenMP runtime that torch has loaded, and use its threads."""
    import torch  # noqa: F401  (which loads it)

    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for path in sorted(mapped):
        if re.search(r"/lib(gomp|iomp5|omp)\b[^/]*$", path):
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
