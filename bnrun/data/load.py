"""From the `data` section of a config to a dataset in memory."""

import contextlib
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from torch import Tensor

from bnrun.config import DataConfig
from bnrun.data import files, places
from bnrun.data.dataset import Dataset, Split
from bnrun.data.fetch import Progress, fetch
from bnrun.data.synthetic import synthetic
from bnrun.errors import DataError
from bnrun.events import Activity, Notice


def load(config: DataConfig) -> Generator[Progress, None, Dataset]:
    """Load the data that a config names, yielding progress and notices; return the dataset.

    Fashion-MNIST comes from `data.root` where that is set. Otherwise it comes from bnrun's cache,
    and is fetched into it first where that is needed. Its files are verified at each load.

    Raises:
        DataError: (while iterating) the images are missing, damaged, or cannot be fetched.
        ConfigError: (while iterating) `data.validation` leaves no image to train on, or
            `data.images` asks for more than there are.
    """
    yield Activity("reading the images")
    if config.name == "synthetic":
        return _chosen(synthetic(), config)
    place = places.find(config.root)
    if place is None:
        place = yield from fetch()
        yield Activity("reading the images")
    if place.state == "unpublished":
        yield Notice(f"{place.folder} holds other images than the published Fashion-MNIST")
    try:
        with _extracted(place.folder) as folder:
            train, test = (_read_split(folder, prefix) for prefix in ("train", "t10k"))
    except DataError as error:
        error.key = None if config.root is None else "data.root"
        raise
    dataset = Dataset(
        train=train,
        test=test,
        name=config.name,
        source=str(place),
        verified=place.state == "verified",
    )
    return _chosen(dataset, config)


def _chosen(dataset: Dataset, config: DataConfig) -> Dataset:
    """Return a dataset with the training images that a config names."""
    return dataset.hold_out(config.validation).keep(config.images)


@contextlib.contextmanager
def _extracted(folder: Path) -> Iterator[Path]:
    """Yield a folder with the files extracted: a temporary one where they are gzipped.

    Raises:
        DataError: there is no room for them.
    """
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
    """Read the images and labels of a split.

    Raises:
        DataError: they are not 28 x 28 images with one label from 0 to 9 each.
    """
    images_path = folder / f"{prefix}-images-idx3-ubyte"
    labels_path = folder / f"{prefix}-labels-idx1-ubyte"
    images, labels = _read_idx(images_path, rank=3), _read_idx(labels_path, rank=1)
    if images.shape[1:] != (28, 28) or len(images) == 0:
        raise DataError(
            f"{images_path} holds images of shape {tuple(images.shape)}; they must be 28 x 28, and "
            "at least one."
        )
    if len(labels) != len(images):
        raise DataError(
            f"{images_path} holds {len(images)} images, but {len(labels)} labels are in "
            f"{labels_path.name}."
        )
    if labels.max() > 9:
        raise DataError(f"{labels_path} has the label {int(labels.max())}; they must be 0 to 9.")
    return Split(images.unsqueeze(1), labels.long())


def _read_idx(path: Path, rank: int) -> Tensor:
    """Read an IDX file of unsigned bytes, whose length was checked when it was inspected.

    Torchvision could read it, too, but importing that takes 1.5 s of every run.

    Raises:
        DataError: it has another number of dimensions.
    """
    content = bytearray(path.read_bytes())
    if content[3] != rank:
        raise DataError(f"{path} has {content[3]} dimensions; it must have {rank}.")
    header = 4 + 4 * rank
    shape = [int.from_bytes(content[at : at + 4]) for at in range(4, header, 4)]
    if 0 in shape:
        return torch.empty(shape, dtype=torch.uint8)
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(shape)
