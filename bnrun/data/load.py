"""From `data` in the config to a dataset in memory."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from bnrun.config import DataConfig
from bnrun.data import files, places
from bnrun.data.dataset import Dataset, Split
from bnrun.data.fetch import Tell, fetch
from bnrun.data.synthetic import synthetic
from bnrun.errors import DataError
from bnrun.events import Notice


def load(config: DataConfig, tell: Tell) -> Dataset:
    """Load the data that a config names, fetching it where it is on no disk.

    Fashion-MNIST is looked for in `data.root`, then in bnrun's cache; then it is fetched. It is
    verified at each load. `tell` hears of progress, and of what the user should know.

    Raises:
        DataError: it is damaged, or not to be had.
        ConfigError: `data.validation` leaves no training image.
    """
    if config.name == "synthetic":
        dataset = synthetic()
    else:
        place = _find(config, tell)
        with _extracted(place.folder) as folder:
            dataset = Dataset(
                train=_read_split(folder, "train"),
                test=_read_split(folder, "t10k"),
                name=config.name,
                source=str(place),
                verified=place.state == "verified",
            )
    return dataset.hold_out(config.validation)


def _find(config: DataConfig, tell: Tell) -> places.Place:
    place = places.find(config.root)
    if place is not None and place.state == "unpublished":
        tell(Notice(f"{place.folder} holds other images than the published Fashion-MNIST"))
    if config.root is not None and (place is None or place.source != "data.root"):
        folder = places.configured(config.root).folder
        tell(Notice(f"data.root: {folder} holds no Fashion-MNIST; looking elsewhere"))
    return place or fetch(tell)


@contextlib.contextmanager
def _extracted(folder: Path) -> Iterator[Path]:
    """Give the folder itself, or, where its files are gzipped, a passing one with them unpacked."""
    if not files.is_zipped(folder):
        yield folder
        return
    with contextlib.ExitStack() as stack:
        try:
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnrun-"))
            files.unpack(folder, Path(temporary))
        except OSError as error:
            raise DataError(
                f"{folder} can't be unpacked into a temporary folder: {error.strerror or error}. "
                "Gunzip the files there, or point TMPDIR to a disk with 60 MB free."
            ) from error
        yield Path(temporary)


def _read_split(folder: Path, prefix: str) -> Split:
    images_path = folder / f"{prefix}-images-idx3-ubyte"
    labels_path = folder / f"{prefix}-labels-idx1-ubyte"
    images, labels = _read(images_path, rank=3), _read(labels_path, rank=1)
    if images.shape[1:] != (28, 28) or len(images) == 0:
        raise DataError(
            f"{images_path} holds images of shape {tuple(images.shape)}; they must be 28 x 28."
        )
    if len(labels) != len(images):
        raise DataError(
            f"{images_path} holds {len(images)} images, but {len(labels)} labels are in "
            f"{labels_path.name}."
        )
    if labels.max() > 9:
        raise DataError(f"{labels_path} has the label {int(labels.max())}; they must be 0 to 9.")
    return Split(images.unsqueeze(1), labels.long())


def _read(path: Path, rank: int) -> Tensor:
    """Read an IDX file of unsigned bytes, whose length has been checked.

    Ours, and not torchvision's, whose import keeps every run waiting for another 1.5 s.
    """
    content = bytearray(path.read_bytes())
    if content[3] != rank:
        raise DataError(f"{path} has {content[3]} dimensions; it must have {rank}.")
    header = 4 + 4 * rank
    shape = [int.from_bytes(content[at : at + 4]) for at in range(4, header, 4)]
    if 0 in shape:
        return torch.empty(shape, dtype=torch.uint8)
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(shape)
