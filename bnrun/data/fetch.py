"""Fetching Fashion-MNIST into bnrun's cache: from each source in turn, verified, atomically."""

import contextlib
import io
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

from bnrun.data import files, places
from bnrun.errors import DataError
from bnrun.events import Fetching, Notice
from bnrun.locks import Busy, Lock
from bnrun.paths import cache_root

Tell = Callable[[Fetching | Notice], None]

PACKAGE = "dataset-fashion-mnist"
DOWNLOAD_BYTES = 30_900_000  # of the .deb, and of the four .gz files together
SILENCE_SECONDS = 20.0  # a server that says nothing for so long is given up


class _Unavailable(Exception):
    """A source does not have the data; the message says why."""


def fetch(tell: Tell) -> places.Place:
    """Put Fashion-MNIST into bnrun's cache, unless it is there whole, and return its place.

    Tries the installed Debian package, torchvision's downloader, then Debian's package with apt
    (which needs no root). What comes is unpacked beside the cache, verified there, and moved in
    file by file; a damaged file in the cache is replaced. Several processes may call this at
    once: one fetches, the others wait for it.

    Raises:
        DataError: no source had it, each with its reason; the cache cannot be written; or it
            holds other images, which are left alone.
    """
    root = cache_root()
    try:
        if (cached := places.cache()).state == "verified":
            return cached
        (root / places.RAW).mkdir(parents=True, exist_ok=True)
        with _locked(root, tell):
            cached = places.cache()
            if cached.state == "verified":
                return cached
            if any(file.state == "unpublished" for file in cached.files):
                raise DataError(
                    f"bnrun's cache {cached.folder} holds other images than the published "
                    "Fashion-MNIST. Move them to DIR/FashionMNIST/raw in a folder of your own, "
                    "and state `--set data.root=DIR`."
                )
            if cached.state == "damaged":
                tell(Notice(f"{cached.problems}; fetching it again"))
            return _fetch(root, tell)
    except OSError as error:
        raise DataError(
            f"bnrun's cache {root} can't be written: {error.strerror or error}. Set BNRUN_CACHE "
            "to a folder that can, with 60 MB free."
        ) from error


def _fetch(root: Path, tell: Tell) -> places.Place:
    for abandoned in root.glob("fetching-*"):  # by a process that was killed: we hold the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    failures = []
    for name, collect in SOURCES.items():
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=root) as temporary:
            staging = Path(temporary)
            try:
                with _watching(staging, name, tell):
                    found = collect(staging)
                _install(found, staging, root / places.RAW)
                _remember(root, name)
            except _Unavailable as error:
                failures.append(f"  {name}: {error}")
            else:
                tell(Notice(f"Fashion-MNIST came from {name}; it is verified and in {root}"))
                return places.cache()
    tried = "\n".join(failures)
    raise DataError(
        f"Fashion-MNIST could not be had. Tried, after {root}:\n{tried}\n"
        f"What you can do: install the package {PACKAGE} (Debian, Ubuntu); or put the four files "
        "into a folder DIR/FashionMNIST/raw and state `--set data.root=DIR`; or work without "
        "them, on generated images: `--set data.name=synthetic`."
    )


def _install(found: Path, staging: Path, raw: Path) -> None:
    """Unpack the files, verify them, and move them in: each appears whole or not at all."""
    unpacked = staging / "unpacked"
    unpacked.mkdir()
    try:
        files.unpack(found, unpacked)
    except ValueError as error:
        raise _Unavailable(str(error)) from error
    fresh = places.Place("fetched", unpacked, files.inspect(unpacked))
    if fresh.state != "verified":
        wrong = [f"{file.name} ({file.state})" for file in fresh.files if file.state != "verified"]
        raise _Unavailable(f"its files are not the published ones: {', '.join(wrong)}")
    for name in files.FILES:
        (unpacked / name).replace(raw / name)


def _remember(root: Path, source: str) -> None:
    (root / places.ORIGIN).write_text(f"{source}\n", encoding="utf-8")


def _from_debian_folder(staging: Path) -> Path:
    place = places.debian_package()
    if place.state == "absent":
        raise _Unavailable(f"{place.folder} is not there")
    if place.state != "verified":
        raise _Unavailable(place.problems or "its files are not the published ones")
    return place.folder


def _from_torchvision(staging: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            FashionMNIST(str(staging), download=True)
    except (RuntimeError, OSError, HTTPException) as error:
        raise _Unavailable(" ".join(str(error).split()) or type(error).__name__) from error
    finally:
        socket.setdefaulttimeout(patience)
    return staging / places.RAW


def _from_apt(staging: Path) -> Path:
    """Download Debian's package with apt into the staging folder and unpack it there.

    Where this machine has no package lists, or old ones, they are fetched too, into the same
    folder: neither step needs root.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise _Unavailable(f"{tool} is not on this machine")
    lists = staging / "lists"
    (lists / "partial").mkdir(parents=True)
    own_lists = [f"-oDir::State::Lists={lists}", f"-oDir::Cache={staging / 'apt'}"]
    try:
        _run(staging, "apt-get", "download", PACKAGE)
    except _Unavailable:
        _run(staging, "apt-get", *own_lists, "update")
        _run(staging, "apt-get", *own_lists, "download", PACKAGE)
    packages = sorted(staging.glob(f"{PACKAGE}_*.deb"))
    if not packages:
        raise _Unavailable("apt-get left no package behind")
    _run(staging, "dpkg-deb", "-x", str(packages[-1]), str(staging / "package"))
    return staging / "package" / places.DEBIAN_FOLDER.relative_to("/")


SOURCES: dict[str, Callable[[Path], Path]] = {
    "Debian's package, installed": _from_debian_folder,
    "torchvision's downloader": _from_torchvision,
    "Debian's package, by apt": _from_apt,
}


def _run(folder: Path, *command: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except OSError as error:
        raise _Unavailable(f"{command[0]} can't be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise _Unavailable(f"{command[0]} took over five minutes") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        last = said[-1] if said else f"exit code {done.returncode}"
        raise _Unavailable(f"{command[0]}: {last.removeprefix('E: ')}")


@contextlib.contextmanager
def _watching(folder: Path, source: str, tell: Tell) -> Iterator[None]:
    """Tell the bytes that have arrived in a folder, four times a second, while a source works."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.25):
            sizes = []
            for path in [*folder.glob("*.deb"), *(folder / places.RAW).glob("*.gz")]:
                with contextlib.suppress(OSError):  # it may be gone by now
                    sizes.append(path.stat().st_size)
            tell(Fetching(source, sum(sizes), DOWNLOAD_BYTES))

    tell(Fetching(source, 0, DOWNLOAD_BYTES))
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


@contextlib.contextmanager
def _locked(root: Path, tell: Tell) -> Iterator[None]:
    lock = Lock(root / "fetching.lock")
    try:
        lock.acquire()
    except Busy:
        tell(Notice("another process is fetching Fashion-MNIST; waiting for it"))
        lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()
