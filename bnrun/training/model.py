"""The model that a config describes, and what its exceptions become."""

import contextlib
from collections.abc import Iterator

from bnrun.config import Config
from bnrun.errors import ProcessLost, TrainingFailed
from bnrun.networks.lenet import LeNet
from bnrun.norms import norm_factory
from bnrun.norms.pieces import in_pieces
from bnrun.norms.user_module import own_line
from bnrun.norms.weights import normalize_weights


def build_model(config: Config) -> LeNet:
    """Build the network of a config, with the initial weights of its seed.

    Raises:
        NormError: the norm cannot be loaded or built.
    """
    model, source, together = config.model, config.model.norm_source, config.training.norm_batch
    norm = norm_factory(source.norm, model.norm_options, source.copy)
    network = LeNet(
        norm if together is None else in_pieces(norm, together),
        pool=model.pool,
        activation=model.activation,
        norm_places=model.norm_places,
        norm_position=model.norm_position,
        dropout=model.dropout,
        weight_scale=model.weight_scale,
        seed=config.training.seed,
    )
    if model.weights != "plain":
        hidden = (network.conv1, network.conv2, network.fc1, network.fc2)
        normalize_weights(hidden, model.weights)
    return network


@contextlib.contextmanager
def wrap_model_errors(place: str) -> Iterator[None]:
    """Convert an exception of the model, most often of a user's own layer, into TrainingFailed.

    Args:
        place: where in the work the model ran, such as "epoch 1, step 3 of 235". It opens the
            message, and the line of the user's file that raised closes it.

    Raises:
        TrainingFailed: the code inside raised an exception or called `sys.exit`.
        ProcessLost: it waited for another process, which is no fault of the model.
    """
    try:
        yield
    except ProcessLost:
        raise
    except (Exception, SystemExit) as error:
        raise TrainingFailed(
            f"{place}: {type(error).__name__}: {error}{own_line(error)}"
        ) from error
