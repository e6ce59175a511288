"""The kernels as a shared library: compiled once on a machine, kept in the cache, and loaded.

They are compiled for the processor of this machine by its C++ compiler, which takes a second or
two. The environment variable BNRUN_KERNELS names a lower level of instructions instead, to test or
time what other machines get: see `LEVELS`. The library's name in bnrun's cache is a digest of the
source, the flags, the compiler and the processor. It does not need C++'s own runtime library, and
runs on torch's threads.

Loading a library runs its code. So it is loaded only if nobody else can have written it: see
`file_ownership.py`.
"""

import ctypes
import hashlib
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bnrun.kernels.compiler import compiler_command, engine_error, run_compiler
from bnrun.kernels.file_ownership import NotPrivate, is_private_file, require_private_folder
from bnrun.kernels.openmp import share_threads_of_torch
from bnrun.paths import cache_root

SOURCE = Path(__file__).parent
SOURCE_SUFFIXES = {".cpp", ".h"}

# Sums may be computed in any order, which SIMD needs. Unlike -ffast-math, these flags keep
# infinities and not-a-number as they are.
FLAGS = (
    # With -O3, the loops are no faster, and compiling takes half as long again.
    *("-std=c++17", "-O2", "-ftree-vectorize", "-fPIC", "-fno-exceptions", "-fno-rtti"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)


@dataclass(frozen=True)
class Level:
    """A level of instructions: the compiler's flags, and what /proc/cpuinfo must list for it."""

    flags: tuple[str, ...]
    needs: frozenset[str] = frozenset()


NATIVE = "native"
LEVELS = {
    NATIVE: Level(("-march=native",)),
    "avx512": Level(
        ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
        frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"}),
    ),
    "avx2": Level(("-mavx2", "-mfma"), frozenset({"avx2", "fma"})),
    "sse4.2": Level(("-msse4.2",), frozenset({"sse4_2"})),
}
"""All that the processor has, or no more than a name says. Those with a name are for x86-64."""
LEVEL_VARIABLE = "BNRUN_KERNELS"


@dataclass(frozen=True)
class Build:
    """What the kernels were compiled for, and by which compiler.

    Attributes:
        features: of the processor: the widest vectors, and FMA where multiply-add is fused.
        compiler: its name and version.
    """

    features: tuple[str, ...]
    compiler: str


def runnable_levels() -> tuple[str, ...]:
    """Return the names of the levels that this machine can run, `native` first."""
    return tuple(name for name, level in LEVELS.items() if level.needs <= _cpu_flags())


def is_compiled() -> bool:
    """Return whether the cache holds the kernels for this machine, in a file that may be loaded.

    Raises:
        EngineError: they cannot be compiled or loaded on this machine.
    """
    return _is_ready(_library_path(_level()))


def load() -> ctypes.CDLL:
    """Return the library of the kernels, after compiling it if the cache does not hold it.

    Raises:
        EngineError: the system is not Linux, there is no compiler, the compiler fails, the cache
            folder cannot be written or can be written by others, or BNRUN_KERNELS names no level
            that the machine can run.
    """
    return _load(_level())


def describe_build() -> Build:
    """Return what the kernels were compiled for.

    Raises:
        EngineError: see `load`.
    """
    library, texts = load(), []
    for name in ("kernel_features", "kernel_compiler"):
        function = getattr(library, name)
        function.restype = ctypes.c_char_p
        texts.append(function().decode().strip())
    features, compiler = texts
    return Build(tuple(features.split(",")), compiler)


def measure_compilation() -> float:
    """Compile the kernels once more, keep nothing, and return the seconds that it took.

    Raises:
        EngineError: see `load`.
    """
    library = _library_path(_level())
    start = time.perf_counter()
    _compile(library.with_suffix(".measured"), LEVELS[_level()].flags)
    seconds = time.perf_counter() - start
    library.with_suffix(".measured").unlink()
    return seconds


@cache
def _load(level: str) -> ctypes.CDLL:
    library = _library_path(level)
    if not _is_ready(library):
        _compile(library, LEVELS[level].flags)
    try:
        share_threads_of_torch()
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise engine_error(f"the compiled kernels can't be loaded: {error}.") from error


def _is_ready(library: Path) -> bool:
    try:
        return library.is_file() and is_private_file(library)
    except OSError:  # its folder may not be searched, or another process has just removed it
        return False


def _level() -> str:
    """Return the level that BNRUN_KERNELS names, `native` unless it is set.

    Raises:
        EngineError: no level has that name, or this machine cannot run it.
    """
    name = os.environ.get(LEVEL_VARIABLE) or NATIVE
    if name not in runnable_levels():
        problem = "which this machine can't run" if name in LEVELS else "which is no level"
        raise engine_error(
            f"the environment variable {LEVEL_VARIABLE} names '{name}', {problem}. "
            f"Here: {', '.join(runnable_levels())}."
        )
    return name


@cache
def _library_path(level: str) -> Path:
    """Return where the library of a level is, or will be.

    Raises:
        EngineError: it cannot be compiled here, or others may write to its folder.
    """
    if sys.platform != "linux":
        raise engine_error("the kernels of the engine compiled are for Linux alone; take eager.")
    content = [path.read_bytes() for path in sorted(SOURCE.iterdir()) if _is_source(path)]
    command = (*compiler_command(), *FLAGS, *LEVELS[level].flags)
    content += [os.fsencode(" ".join(command)), _processor()]
    digest = hashlib.sha256(b"\0".join(content)).hexdigest()
    folder = (cache_root() / "kernels").resolve()
    _require_private(folder)
    return folder / f"{digest[:20]}.so"


def _require_private(folder: Path) -> None:
    try:
        require_private_folder(folder)
    except NotPrivate as error:
        raise engine_error(
            f"compiled code is loaded only from a private folder: {error}."
        ) from error


def _is_source(path: Path) -> bool:
    return path.suffix in SOURCE_SUFFIXES


def _processor() -> bytes:
    """Return the lines of /proc/cpuinfo that identify this kind of processor."""
    lines = set(Path("/proc/cpuinfo").read_bytes().splitlines())
    kind = re.compile(rb"(model name|flags|Features|CPU part)\s*:")
    return platform.machine().encode() + b"\n".join(sorted(filter(kind.match, lines)))


@cache
def _cpu_flags() -> frozenset[str]:
    """Return the features of an x86-64 processor, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def _compile(library: Path, flags: Sequence[str]) -> None:
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
            run_compiler(*FLAGS, *flags, "-c", source, "-o", output=compiled)
            # Not linked with OpenMP's runtime: its symbols are those that torch has loaded.
            run_compiler("-shared", str(compiled), "-o", output=linked)
            linked.chmod(0o700)
            linked.replace(library)
    except OSError as error:
        raise engine_error(
            f"the kernels can't be compiled into {library.parent}: {error.strerror or error}. "
            "The environment variable BNRUN_CACHE names another cache folder."
        ) from error
