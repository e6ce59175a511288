"""`load_data`: the images."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bnrun.config import DataConfig
from bnrun.data.dataset import Dataset
from bnrun.data.load import load
from bnrun.events import drain


def load_data(
    name: Literal["fashion-mnist", "synthetic"] = "fashion-mnist",
    *,
    root: str | Path | None = None,
    validation: int = 0,
    images: int | None = None,
    on_event: Callable[[object], object] = lambda event: None,
) -> Dataset:
    """Load the images that bnrun trains on, as tensors in memory.

    `dataset.train.images` is (N, 1, 28, 28), bytes from 0 to 255; `dataset.train.labels` is (N,),
    0 to 9; `dataset.test` is alike. `dataset.train.batches(256)` yields batches whose images are
    float32 from 0 to 1.

    Args:
        name: `fashion-mnist`, which is downloaded into bnrun's cache where it is not there; or
            `synthetic`, 4,000 + 1,000 generated images that need no download.
        root: a folder with Fashion-MNIST in torchvision's layout, in place of the cache.
        validation: how many training images to hold out, as `dataset.validation`.
        images: how many of the other training images to keep, the first ones; None keeps all.
        on_event: called with the progress of a download (`Fetching`), and with notices.

    Raises:
        DataError: the images are missing, damaged, or cannot be fetched.
        ConfigError: `validation` leaves no image to train on, or there are fewer than `images`.

    Example:
        >>> import bnrun
        >>> dataset = bnrun.load_data("synthetic")
        >>> images, labels = next(dataset.train.batches(256))
        >>> images.shape, images.dtype
        (torch.Size([256, 1, 28, 28]), torch.float32)
    """
    folder = None if root is None else str(root)
    config = DataConfig(name=name, root=folder, validation=validation, images=images)
    return drain(load(config), on_event)
