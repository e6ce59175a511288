"""Where Fashion-MNIST may lie on this machine, and what is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnrun.data.files import FileReport, inspect
from bnrun.errors import DataError
from bnrun.paths import cache_root, user_path

RAW = Path("FashionMNIST", "raw")  # torchvision's layout below a root
ORIGIN = "origin.txt"  # in the cache: the source that its files came from
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Place:
    """A folder that may hold the four files, and the state of each.

    `origin` is where the cache's files were fetched from.
    """

    source: str
    folder: Path
    files: tuple[FileReport, ...]
    origin: str = ""

    def __str__(self) -> str:
        came = f", from {self.origin}" if self.origin else ""
        return f"{self.source}{came}: {self.folder}"

    @property
    def state(self) -> Literal["verified", "unpublished", "damaged", "incomplete", "absent"]:
        """The state of the four files together."""
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
        """What is wrong with the files, a sentence each; empty where nothing is."""
        bad = [file for file in self.files if file.state in ("damaged", "missing")]
        return "; ".join(f"{file.name} is {file.state} ({file.reason})" for file in bad)


def find(root: str | None) -> Place | None:
    """Return the place that training reads: `data.root`, then the cache; None where neither has it.

    Raises:
        DataError: `data.root` has the files, but damaged or not all of them.
    """
    if root is not None:
        place = configured(root)
        if place.state in ("damaged", "incomplete"):
            raise DataError(
                f"data.root: {place.problems}. Replace the file, or leave data.root out and "
                "bnrun finds or fetches the data itself."
            )
        if place.state != "absent":
            return place
    place = cache()
    return place if place.state == "verified" else None


def configured(root: str) -> Place:
    """Look into `data.root`, a folder in torchvision's layout."""
    folder = user_path(root) / RAW
    return Place("data.root", folder, inspect(folder))


def cache() -> Place:
    """Look into bnrun's own cache."""
    folder = cache_root() / RAW
    origin = cache_root() / ORIGIN
    came_from = origin.read_text(encoding="utf-8").strip() if origin.is_file() else ""
    return Place("bnrun's cache", folder, inspect(folder), came_from)


def debian_package() -> Place:
    """Look into the folder of Debian's and Ubuntu's package dataset-fashion-mnist."""
    return Place("Debian's package", DEBIAN_FOLDER, inspect(DEBIAN_FOLDER))
