"""Fetching Fashion-MNIST into a folder: from the first source that has it, verified, atomically."""

import functools
import shlex
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from bnrun.data import files, places, sources
from bnrun.errors import DataError
from bnrun.events import Activity, Fetching, Notice
from bnrun.locks import Busy, Lock
from bnrun.paths import cache_root, user_path

STAGING = "bnrun-fetching-"
"""Start of the names of folders that hold what arrives; they stand beside the raw files."""

Progress = Fetching | Notice | Activity


def fetch(root: str | None = None) -> Generator[Progress, None, places.Place]:
    """Put the four files into a root, or into bnrun's cache, and return their place.

    Files that are there and verified are not fetched again. Otherwise the sources are tried in
    turn. Their files are unpacked in a temporary folder, verified there, and moved in one by one.
    Several processes may call this at once: one fetches, the others wait for it.

    Other images than the published ones are left alone. So is a damaged file in a user's root; in
    bnrun's cache, it is replaced.

    Args:
        root: a folder in torchvision's layout, which is made where it does not exist; None means
            bnrun's cache.

    Raises:
        DataError: (while iterating) no source has the data (the message says why, for each); the
            folder cannot be written; or it holds files that must be left alone.
    """
    base = cache_root() if root is None else user_path(root)
    look = places.cache if root is None else functools.partial(places.configured, root)
    try:
        yield Activity("looking for Fashion-MNIST")
        place = look()
        if place.state == "verified":
            return place
        (base / places.RAW).mkdir(parents=True, exist_ok=True)
        lock = Lock(base / places.RAW.parent / ".bnrun-fetching.lock")
        try:
            lock.acquire()
        except Busy:
            yield Notice("another process is fetching Fashion-MNIST; waiting for it")
            lock.acquire(wait=True)
        try:
            place = look()
            if place.state == "verified":
                return place
            _refuse_to_replace(place, root)
            if place.state == "damaged":
                yield Notice(f"{place.problems}; fetching it again")
            yield from _fetch_into(base, place, root)
            yield Activity("verifying the files")
            return look()
        finally:
            lock.release()
    except OSError as error:
        raise DataError(_unwritable(base, root, error)) from error


def _refuse_to_replace(place: places.Place, root: str | None) -> None:
    """Refuse to fetch over files that may be all that somebody has.

    Raises:
        DataError: there are such files.
    """
    if any(file.state == "unpublished" for file in place.files):
        other = "holds other images than the published Fashion-MNIST, which are left alone"
        if root is None:
            raise DataError(
                f"bnrun's cache {place.folder} {other}. Move them to DIR/FashionMNIST/raw in a "
                "folder of your own, and use them by `--set data.root=DIR`."
            )
        raise DataError(f"{place.folder} {other}. Name another folder.")
    if root is not None and place.state == "damaged":
        raise DataError(
            f"{place.problems}. It is left alone: move it away, then run `bnrun data fetch --root "
            f"{shlex.quote(root)}` again."
        )


def _fetch_into(
    base: Path, place: places.Place, root: str | None
) -> Generator[Progress, None, None]:
    """Bring the files that a place lacks, or has damaged, from the first source that has them.

    Raises:
        DataError: none has.
    """
    for abandoned in (base / places.RAW.parent).glob(f"{STAGING}*"):  # by a process that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    cache = {} if root is None else {"bnrun's cache": sources.from_cache}
    failures = []
    for name, source in (cache | sources.SOURCES).items():
        yield Fetching(name, 0, sources.DOWNLOAD_BYTES)
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=base / places.RAW.parent) as folder:
            try:
                found = yield from source(Path(folder))
                yield Activity("unpacking and verifying the files")
                _install(found, Path(folder), place)
            except sources.Unavailable as error:
                failures.append(f"  {name}: {error}")
                continue
        if root is None:
            (base / places.ORIGIN).write_text(f"{name}\n", encoding="utf-8")
        yield Notice(f"Fashion-MNIST came from {name}; it is verified and in {base}")
        return
    tried = "\n".join(failures)
    raise DataError(
        f"Fashion-MNIST could not be fetched into {base}. Tried:\n{tried}\n"
        f"What you can do: install the package {sources.PACKAGE} (Debian, Ubuntu); or put the four "
        "files into a folder DIR/FashionMNIST/raw and use them by `--set data.root=DIR`; or train "
        "on generated images: `--set data.name=synthetic`."
    )


def _install(found: Path, staging: Path, place: places.Place) -> None:
    """Unpack the files, verify them, and move them in: each appears whole or not at all.

    Raises:
        Unavailable: they are not the published files.
    """
    unpacked = staging / "unpacked"
    unpacked.mkdir()
    try:
        files.unpack(found, unpacked)
    except ValueError as error:
        raise sources.Unavailable(str(error)) from error
    wrong = [file for file in files.inspect(unpacked) if file.state != "verified"]
    if wrong:
        names = ", ".join(f"{file.name} ({file.state})" for file in wrong)
        raise sources.Unavailable(f"its files are not the published ones: {names}")
    for file in place.files:
        if file.state != "verified":
            (unpacked / file.name).replace(place.folder / file.name)


def _unwritable(base: Path, root: str | None, error: OSError) -> str:
    reason = error.strerror or error
    if root is None:
        return (
            f"bnrun's cache {base} can't be written: {reason}. Set BNRUN_CACHE to a folder that "
            "can, with 90 MB free."
        )
    return f"{base} can't be written: {reason}. Name a folder that can, with 90 MB free."
