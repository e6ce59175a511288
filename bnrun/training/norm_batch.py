"""Whether the norm can normalize every piece that `training.norm_batch` cuts a batch into."""

import itertools

import torch

from bnrun.config import Config
from bnrun.errors import ConfigError
from bnrun.norms import norm_factory
from bnrun.processes import Processes
from bnrun.training.random_numbers import preserved_generators

LINEAR_PLACES = {3, 4}
"""The places of the norm after a linear layer, where an example has one value per channel."""
CHANNELS = 120
"""Those of place 3."""


def check_shares(config: Config, images: int, processes: Processes) -> None:
    """Check that no process has a single example to normalize, where the norm cannot.

    Args:
        config: of a training whose processes normalize their own shares.
        images: how many an epoch has.
        processes: that share each batch.

    Raises:
        ConfigError: one has. The reason names a batch size that leaves none.
        NormError: the norm cannot be loaded or built.
    """
    if LINEAR_PLACES.isdisjoint(config.model.norm_places):
        return
    size = config.training.batch_size
    if not _shares_leave_one(config, images, size, processes) or _normalizes_one_example(config):
        return
    better = next(
        number
        for number in itertools.count(size + 1)
        if not _shares_leave_one(config, images, number, processes)
    )
    raise ConfigError(
        f"received {size}, which leaves one of {processes.size} processes a single example of a "
        "batch to normalize by itself. After a linear layer that is one value per channel, where "
        f"norm '{config.model.norm_call}' has nothing to average. Fix: --set "
        f"training.batch_size={better}",
        key="training.batch_size",
    )


def _shares_leave_one(config: Config, images: int, size: int, processes: Processes) -> bool:
    """Return whether a share, or a piece of one, is a single example."""
    share = -(-min(size, images) // processes.size)
    shares = {
        min(share, batch - start)
        for batch in {min(size, images), images % size}
        for start in range(0, batch, share)
    }
    together = config.training.norm_batch or share
    return any(one == 1 or _leaves_one(one, together) for one in shares)


def check_norm_batch(config: Config, images: int, source: str | None = None) -> None:
    """Check that no piece is a single example, where the norm cannot normalize one.

    Args:
        config: of a training.
        images: how many an epoch has.
        source: what errors call the place that the config comes from, such as "arm scratch".

    Raises:
        ConfigError: a piece is. The reason names a number of examples that leaves none.
        NormError: the norm cannot be loaded or built.
    """
    together, size = config.training.norm_batch, config.training.batch_size
    if together is None or LINEAR_PLACES.isdisjoint(config.model.norm_places):
        return
    sizes = [one for one in (min(size, images), images % size) if one > 1]
    cut = next((one for one in sizes if _leaves_one(one, together)), None)
    if cut is None or _normalizes_one_example(config):
        return
    better = next(
        number
        for number in itertools.count(together + 1)
        if not any(_leaves_one(one, number) for one in sizes)
    )
    raise ConfigError(
        f"received {together}, which leaves a single example of a batch of {cut}. After a linear "
        f"layer that is one value per channel, where norm '{config.model.norm_call}' has nothing "
        f"to average. Fix: --set training.norm_batch={better}",
        key="training.norm_batch",
        source=source,
    )


def _leaves_one(size: int, together: int) -> bool:
    """Return whether a batch of this size has a piece of one example."""
    return together == 1 or size % together == 1


def _normalizes_one_example(config: Config) -> bool:
    """Return whether the norm puts out finite values for one example, which depend on it.

    A batch norm raises ValueError, or puts out beta whatever the example. A norm that raises
    something else has another fault, which training shows.
    """
    source = config.model.norm_source
    factory = norm_factory(source.norm, config.model.norm_options, source.copy)
    with preserved_generators(torch.device("cpu")), torch.enable_grad():
        layer = factory(CHANNELS, 2)
        try:
            one, other = (layer(torch.rand(1, CHANNELS)) for _ in range(2))
        except ValueError:
            return False
        except Exception:
            return True
    return bool(one.isfinite().all()) and not torch.equal(one, other)
