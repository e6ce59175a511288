"""Folders of this machine that may hold Fashion-MNIST, and what each of them holds."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnrun.data.files import FileReport, inspect
from bnrun.errors import DataError
from bnrun.paths import cache_root, user_path

RAW = Path("FashionMNIST", "raw")
"""Where the four files are below a root: torchvision's layout."""

ORIGIN = "origin.txt"
"""A file in bnrun's cache that names the source of its images."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

State = Literal["verified", "unpublished", "damaged", "incomplete", "absent"]


@dataclass(frozen=True)
class Place:
    """A folder that may hold the four files, and a report on each file.

    `origin` names the source that the files of bnrun's cache were fetched from.
    """

    source: str
    folder: Path
    files: tuple[FileReport, ...]
    origin: str = ""

    def __str__(self) -> str:
        origin = f", from {self.origin}" if self.origin else ""
        return f"{self.source}{origin}: {self.folder}"

    @property
    def state(self) -> State:
        """Return the state of the four files together; any damage outweighs what is missing."""
        states = {file.state for file in self.files}
        if states == {"missing"}:
            return "absent"
        if "damaged" in states:
            return "damaged"
        if "missing" in states:
            return "incomplete"
        return "verified" if states == {"verified"} else "unpublished"

    @property
    def problems(self) -> str:
        """Return what is wrong with each damaged or missing file; empty where nothing is."""
        bad = [file for file in self.files if file.state in ("damaged", "missing")]
        return "; ".join(f"{file.name} is {file.state} ({file.reason})" for file in bad)


def find(root: str | None) -> Place | None:
    """Return the place that a training reads, or None where the images must be fetched first.

    With a `data.root`, that is the root and nothing else: a training must not run on other images
    than those that were named. Without one, it is bnrun's cache.

    Raises:
        DataError: the root holds no images, not all of them, or damaged ones.
    """
    if root is None:
        place = cache()
        return place if place.state == "verified" else None
    place = configured(root)
    if place.state in ("verified", "unpublished"):
        return place
    raise DataError(_refusal(root, place), key="data.root")


def configured(root: str) -> Place:
    """Look into `data.root`, a folder in torchvision's layout."""
    folder = user_path(root) / RAW
    return Place("data.root", folder, inspect(folder))


def cache() -> Place:
    """Look into bnrun's own cache."""
    folder = cache_root() / RAW
    file = cache_root() / ORIGIN
    origin = file.read_text("utf-8", errors="replace").strip() if file.is_file() else ""
    return Place("bnrun's cache", folder, inspect(folder), origin)


def debian_package() -> Place:
    """Look into the folder of Debian's and Ubuntu's package dataset-fashion-mnist."""
    return Place("Debian's package", DEBIAN_FOLDER, inspect(DEBIAN_FOLDER))


def _refusal(root: str, place: Place) -> str:
    """Return why a root cannot be used, and what to do."""
    fetching = f"`bnrun data fetch --root {shlex.quote(root)}`"
    without = "Without data.root, bnrun uses or fetches its own copy."
    match place.state:
        case "damaged":
            return f"{place.problems}. Replace the file. {without}"
        case "incomplete":
            return f"{place.problems}. {fetching} adds what is missing. {without}"
    above = _root_above(root)
    if above is not None:
        return (
            f"received '{root}'; it must be the folder above FashionMNIST/raw. "
            f"Did you mean '{above}'?"
        )
    return (
        f"received '{root}', but there is no Fashion-MNIST in {place.folder}. "
        f"{fetching} puts it there. {without}"
    )


def _root_above(root: str) -> Path | None:
    """Return the root that a user meant who named a folder inside its layout."""
    path = user_path(root)
    for above in path.parents[:2]:
        if path in (above / RAW, above / RAW.parent) and (above / RAW).is_dir():
            return above
    return None
