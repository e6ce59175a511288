"""The kernels are compiled once for a machine, and loaded only from where nobody else writes."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from bnrun import kernels
from bnrun.errors import EngineError
from bnrun.kernels import build
from bnrun.kernels.file_ownership import is_private_file
from bnrun.kernels.openmp import loaded_libraries
from bnrun.paths import cache_root

REAL_CACHE = cache_root()
ODD_NAME = "a folder, für Lernende 批量"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, whose name has spaces and non-ASCII letters; nothing is loaded yet."""
    with contextlib.suppress(EngineError):
        build.load()  # what `enabled` uses comes from the real cache, whichever test runs first
    monkeypatch.setenv("BNRUN_CACHE", str(tmp_path / ODD_NAME))
    for cached in (build._load, build._library_path):
        monkeypatch.setattr(build, cached.__name__, cached.__wrapped__)
    return tmp_path / ODD_NAME / "kernels"


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compilable: None) -> Path:
    """A compiler that only counts its runs, a line each in the file beside it."""
    script = tmp_path / "compiler"
    script.write_text(
        f'#!/bin/sh\necho run >> "{script}.runs"\n'
        'for last; do :; done\necho library > "$last"\n'  # the last argument is the output
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setattr(build, "share_threads_of_torch", lambda: None)
    monkeypatch.setattr(build.ctypes, "CDLL", lambda path: Path(path).read_text())
    return script


def _runs(compiler: Path) -> int:
    """Count how often the kernels were compiled: each time compiled, and linked."""
    runs = Path(f"{compiler}.runs")
    return len(runs.read_text().splitlines()) // 2 if runs.exists() else 0


def test_they_compile_and_load_in_a_folder_with_spaces_and_other_letters(
    compilable: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unoptimized = [flag for flag in build.FLAGS if flag != "-O2"]  # compiles in a third of the time
    monkeypatch.setattr(build, "FLAGS", unoptimized)
    assert not kernels.is_compiled()
    assert build.load().batch_norm
    assert kernels.is_compiled()
    (kept,) = cache.iterdir()  # nothing else is left
    assert kept.suffix == ".so"


OPENMP_ELSEWHERE = """
import ctypes, sys
ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)  # torch then takes it for its own: same name
import torch
from bnrun import kernels
from bnrun.kernels.openmp import loaded_libraries
from bnrun.paths import cache_root
assert sum(b"gomp" in path for path in loaded_libraries()) == 1
with kernels.enabled():
    x = torch.ones(2, 1, 28, 28)
    kernels.conv2d(x, torch.ones(6, 1, 5, 5), torch.ones(6))
print(kernels.calls())
"""


@pytest.mark.process
def test_torchs_libraries_may_lie_in_a_folder_with_spaces_and_other_letters(
    compilable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a virtual environment in such a folder: its OpenMP runtime has to be found there."""
    import torch  # noqa: F401  (which loads its OpenMP runtime)

    runtimes = [path for path in loaded_libraries() if b"/torch/lib/libgomp" in path]
    if not runtimes:
        pytest.skip("this torch brings no libgomp of its own")
    runtime = Path(runtimes[0].decode())
    copy = tmp_path / ODD_NAME / runtime.name
    copy.parent.mkdir()
    copy.write_bytes(runtime.read_bytes())
    monkeypatch.setenv("BNRUN_CACHE", str(REAL_CACHE))  # where they are compiled already
    done = subprocess.run(
        [sys.executable, "-c", OPENMP_ELSEWHERE, str(copy)],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_they_are_compiled_once_and_kept(compiler: Path) -> None:
    for _ in range(2):
        build.load()
    assert _runs(compiler) == 1


def test_compiling_is_measured_without_a_trace(compiler: Path, cache: Path) -> None:
    build.load()
    (library,) = cache.iterdir()
    assert build.measure_compilation() > 0
    assert (_runs(compiler), list(cache.iterdir())) == (2, [library])


def test_a_library_that_has_just_been_removed_is_compiled_again(
    compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove_first(library: Path) -> bool:
        library.unlink()
        return is_private_file(library)

    build.load()
    monkeypatch.setattr(build, "is_private_file", remove_first)
    build.load()
    assert _runs(compiler) == 2


def test_another_processor_has_another_library(
    compilable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = build._library_path(build.NATIVE)
    monkeypatch.setattr(build, "_processor", lambda: b"another")
    assert build._library_path(build.NATIVE) != here


def test_without_a_compiler_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineError, match=r"no c\+\+\. On Debian and Ubuntu: apt install g\+\+"):
        kernels.is_compiled()


def test_a_compiler_that_fails_is_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    compiler = tmp_path / "mine"
    compiler.write_text("#!/bin/sh\necho 'too old' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(EngineError, match=r"mine can't compile the kernels: too old\.$"):
        build.load()
    assert not kernels.is_compiled()
    assert list(cache.iterdir()) == []


def _script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("level", ["native", "avx2", "sse4.2"])
def test_the_flags_of_a_level_are_the_compilers(
    compiler: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    monkeypatch.setattr(build, "runnable_levels", lambda: tuple(build.LEVELS))
    monkeypatch.setenv(build.LEVEL_VARIABLE, level)
    _script(compiler, f'echo "$@" >> "{compiler}.runs"', "for last; do :; done", 'echo > "$last"')
    build.load()
    compiling, linking = Path(f"{compiler}.runs").read_text().splitlines()
    others = {flag for name in build.LEVELS if name != level for flag in build.LEVELS[name].flags}
    assert {*build.FLAGS, *build.LEVELS[level].flags} <= {*compiling.split()}
    assert not (others - {*build.LEVELS[level].flags}) & {*compiling.split()}
    assert linking.startswith("-shared ")


def test_cxx_may_have_arguments_and_a_path_with_spaces(
    compiler: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in CXX="ccache g++", which many set."""
    _script(tmp_path / "my launcher", f'echo launched >> "{compiler}.launched"', 'exec "$@"')
    monkeypatch.setenv("CXX", f"'{tmp_path}/my launcher' {compiler} -m64")
    build.load()
    assert _runs(compiler) == 1
    assert Path(f"{compiler}.launched").read_text() == "launched\n" * 2
    monkeypatch.setenv("CXX", str(_script(tmp_path / "a compiler", f'exec {compiler} "$@"')))
    build.load()  # another compiler, another library
    assert _runs(compiler) == 2


@pytest.mark.parametrize(
    ("cxx", "message"),
    [
        ("/nowhere/g++", r"CXX is '/nowhere/g\+\+', and there is no /nowhere/g\+\+\. Name a C\+\+"),
        ("cache-of-mine g++", r"CXX is 'cache-of-mine g\+\+', and there is no cache-of-mine\."),
        ("'g++", "CXX is ''g\\+\\+': No closing quotation"),
        ("true -m64", r"true -m64 ends without an error, and has compiled nothing\.$"),
        ("{nonsense}", r"nonsense can't be started: Exec format error\.$"),
    ],
)
def test_a_wrong_cxx_is_named_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cxx: str, message: str
) -> None:
    (tmp_path / "nonsense").write_text("no program")
    (tmp_path / "nonsense").chmod(0o755)
    monkeypatch.setenv("CXX", cxx.format(nonsense=tmp_path / "nonsense"))
    with pytest.raises(EngineError, match=message) as error:
        build.load()
    assert error.value.key == "training.engine"


def test_an_empty_cxx_is_none(compilable: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    unset = build._library_path(build.NATIVE)
    monkeypatch.setenv("CXX", " ")
    assert build._library_path(build.NATIVE) == unset


def test_the_first_error_of_a_compiler_is_quoted_not_its_first_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = ("echo 'a.h:1: warning: odd' >&2", "echo 'a.h:2: error: wrong' >&2", "exit 1")
    monkeypatch.setenv("CXX", str(_script(tmp_path / "mine", *said)))
    with pytest.raises(EngineError, match=r"can't compile the kernels: a\.h:2: error: wrong\.$"):
        build.load()


def test_a_cache_that_cannot_be_written_is_named(
    compilable: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BNRUN_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"can't be compiled into .*Not a directory.*BNRUN_CACHE"):
        build.load()


def test_on_other_systems_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sys, "platform", "darwin")
    with pytest.raises(EngineError, match="for Linux alone") as error:
        kernels.is_compiled()
    assert error.value.key == "training.engine"


# ---- who may write to what is loaded


def test_what_is_compiled_is_for_this_user_alone(compiler: Path, cache: Path) -> None:
    build.load()
    (library,) = cache.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (cache, library)] == [0o700, 0o700]


@pytest.mark.parametrize(
    ("mode", "advice"), [(0o707, "everybody may write .*`chmod o-w"), (0o755, None)]
)
def test_nothing_is_loaded_from_a_folder_that_others_may_write_to(
    compiler: Path, cache: Path, mode: int, advice: str | None
) -> None:
    build.load()
    cache.chmod(mode)
    if advice is None:
        build.load()
        return
    with pytest.raises(EngineError, match=advice) as error:
        build.load()
    assert f"'{cache}'" in error.value.reason  # quoted for a shell
    with pytest.raises(EngineError, match=advice):
        kernels.is_compiled()


def test_a_library_that_others_may_have_changed_is_compiled_again(
    compiler: Path, cache: Path
) -> None:
    build.load()
    (library,) = cache.iterdir()
    library.write_text("changed")
    library.chmod(0o707)
    assert not kernels.is_compiled()
    assert build.load() == "library\n"
    assert _runs(compiler) == 2
    assert library.stat().st_mode & 0o777 == 0o700
