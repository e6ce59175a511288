"""What goes wrong inside a model, told as an error of ours."""

import contextlib
from collections.abc import Iterator

from bnrun.errors import TrainingFailed
from bnrun.norms.user_module import own_line


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Turn an error of the model, of a user's own layer above all, into one that tells where.

    Raises:
        TrainingFailed: with the user's own line, where the error came from one.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        raise TrainingFailed(
            f"{where}: {type(error).__name__}: {error}{own_line(error)}"
        ) from error
