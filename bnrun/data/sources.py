"""The sources of Fashion-MNIST: each brings its four files into a folder.

A source is a generator: it yields how many bytes have arrived, and returns the folder that its
files are in, extracted or gzipped. What it brings is verified elsewhere.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn

from bnrun.data import files, places
from bnrun.events import Activity, Fetching

PACKAGE = "dataset-fashion-mnist"

DOWNLOAD_BYTES = 30_900_000
"""Size of the Debian package, and of the four `.gz` files together."""

SILENCE_SECONDS = 20.0
"""Time without a byte after which a server is given up."""

COMMAND_SECONDS = 300.0
"""Time after which a command is ended."""

CHUNK_BYTES = 1 << 18


class Unavailable(Exception):
    """A source does not have the data; the message says why."""


Source = Callable[[Path], Generator[Fetching | Activity, None, Path]]


def from_cache(staging: Path) -> Generator[Fetching | Activity, None, Path]:
    """Take the files from bnrun's own cache, for a folder elsewhere.

    Raises:
        Unavailable: they are not there, or not verified.
    """
    yield from ()  # nothing to wait for
    return _verified_folder(places.cache())


def from_debian_folder(staging: Path) -> Generator[Fetching | Activity, None, Path]:
    """Take the files from Debian's package, where it is installed.

    Raises:
        Unavailable: it is not installed, or not the published data.
    """
    yield from ()
    return _verified_folder(places.debian_package())


def _verified_folder(place: places.Place) -> Path:
    if place.state == "absent":
        raise Unavailable(f"{place.folder} is not there")
    if place.state != "verified":
        raise Unavailable(place.problems or "its files are not the published ones")
    return place.folder


def from_mirror(staging: Path) -> Generator[Fetching | Activity, None, Path]:
    """Download the files from the first of torchvision's mirrors that has them.

    Raises:
        Unavailable: none has.
    """
    yield Activity("loading torchvision, which knows its mirrors")
    from torchvision.datasets import FashionMNIST

    folder = staging / "mirror"
    folder.mkdir()
    failures = []
    for mirror in FashionMNIST.mirrors:
        received = 0
        yield Activity("waiting for torchvision's mirror")
        try:
            for name in files.FILES:
                with (folder / f"{name}.gz").open("wb") as file:
                    for chunk in _chunks(f"{mirror}{name}.gz"):
                        file.write(chunk)
                        received += len(chunk)
                        yield Fetching(MIRROR, received, DOWNLOAD_BYTES)
            return folder
        except Unavailable as error:
            failures.append(str(error))
    raise Unavailable("; ".join(failures))


def _chunks(url: str) -> Iterator[bytes]:
    """Yield what an address holds, a piece at a time.

    Raises:
        Unavailable: it cannot be reached, is not there, or breaks off.
    """
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as response:
            while chunk := response.read(CHUNK_BYTES):
                yield chunk
    except urllib.error.HTTPError as error:
        error.close()
        _fail(url, f"{error.code} {error.reason}", error)
    except urllib.error.URLError as error:
        _fail(url, str(error.reason), error)
    except (OSError, HTTPException) as error:
        _fail(url, str(error), error)


def _fail(url: str, reason: str, error: Exception) -> NoReturn:
    words = " ".join(reason.split()) or type(error).__name__
    raise Unavailable(f"{url}: {words}") from error


def from_apt(staging: Path) -> Generator[Fetching | Activity, None, Path]:
    """Download Debian's package with apt, and unpack it; neither needs root.

    Where this machine has no package lists, or old ones, they are downloaded too, into the same
    folder.

    Raises:
        Unavailable: there is no apt here, or it does not find the package.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not on this machine")
    lists = staging / "lists"
    (lists / "partial").mkdir(parents=True)
    own_lists = [f"-oDir::State::Lists={lists}", f"-oDir::Cache={staging / 'apt'}"]
    try:
        yield from _run(staging, "waiting for apt", "apt-get", "download", PACKAGE)
    except Unavailable:
        apt = ("apt-get", *own_lists)
        yield from _run(staging, "fetching apt's lists of packages", *apt, "update")
        yield from _run(staging, "waiting for apt", *apt, "download", PACKAGE)
    packages = sorted(staging.glob(f"{PACKAGE}_*.deb"))
    if not packages:
        raise Unavailable("apt-get left no package behind")
    unpack = ("dpkg-deb", "-x", str(packages[-1]), str(staging / "package"))
    yield from _run(staging, "unpacking the package", *unpack)
    return staging / "package" / places.DEBIAN_FOLDER.relative_to("/")


def _run(folder: Path, activity: str, *command: str) -> Generator[Fetching | Activity, None, None]:
    """Run a command in a folder; yield four times a second what it does.

    That is the activity; of a download, how much of the package is there, once it arrives.

    Raises:
        Unavailable: it cannot be started, fails, or takes too long. Its processes are ended then,
            and also when the generator is closed.
    """
    yield Activity(activity)
    errors = folder / "errors.txt"
    started = time.monotonic()
    try:
        with errors.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
                start_new_session=True,  # its own processes can then be ended with it
            )
    except OSError as error:
        raise Unavailable(f"{command[0]} can't be started: {error.strerror}") from error
    try:
        while not _has_ended(process, seconds=0.25):
            if time.monotonic() - started > COMMAND_SECONDS:
                raise Unavailable(f"{command[0]} took over {COMMAND_SECONDS / 60:.0f} minutes")
            received = _package_bytes(folder) if "download" in command else 0
            yield Fetching(APT, received, DOWNLOAD_BYTES) if received else Activity(activity)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        lines = errors.read_text(errors="replace").splitlines()
        reasons = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
        reason = reasons[-1] if reasons else f"exit code {process.returncode}"
        raise Unavailable(f"{command[0]}: {reason}")


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a process, but not longer than this; return whether it has ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def _package_bytes(folder: Path) -> int:
    size = 0
    for path in folder.glob("*.deb"):
        with contextlib.suppress(OSError):  # it may have been renamed meanwhile
            size += path.stat().st_size
    return size


MIRROR, APT = "torchvision's mirror", "Debian's package, by apt"

SOURCES: dict[str, Source] = {
    "Debian's package, installed": from_debian_folder,
    MIRROR: from_mirror,
    APT: from_apt,
}
"""The sources by name, in the order in which they are tried."""
