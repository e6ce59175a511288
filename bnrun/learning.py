"""Did a network learn? Its last epoch, beside what guessing one of the ten classes reaches."""

import math

from bnrun.events import DataUsed, EpochEnded

CLASSES = 10
GUESSING_ACCURACY = 1 / CLASSES
GUESSING_LOSS = math.log(CLASSES)
"""Cross-entropy of giving every class the same probability: 2.303."""

BLOWN_UP = "Its weights have blown up without becoming infinite."
BLOWN_UP_LOSS = 1e6
"""Loss beyond which the weights have grown without bound, although they are still finite."""

MARGIN = 3.0
"""Standard errors above guessing up to which an accuracy is no better than guessing."""


LARGEST_FIXED = 10_000
"""Losses from here on are written in scientific notation, as in the tables."""

DID_NOT_LEARN = "did not learn"
LOSS_ABOVE_GUESSING = "loss above guessing"


def why_not_learned(last: EpochEnded, data: DataUsed, learning_rate: float) -> str | None:
    """Return why a network has not learned, and what to try; None if it has.

    It has where any accuracy is above that of guessing, however large its loss is.

    Args:
        last: the last epoch of a training that reached its end.
        data: its images; how many there are decides how far from 0.1 a guess may fall.
        learning_rate: of its optimizer.
    """
    if _above_guessing(last, data):
        return None
    if not last.loss < BLOWN_UP_LOSS:
        return (
            f"its loss ended at {_loss(last.loss)}, where guessing has {GUESSING_LOSS:.3f}, and "
            f"its train accuracy, {last.train_acc:.3f}, is that of guessing (0.100). "
            f"{_advice(last, learning_rate)}"
        )
    epochs = "one epoch" if last.epoch == 1 else f"{last.epoch} epochs"
    return (
        f"after {epochs} its train accuracy, {last.train_acc:.3f}, "
        f"is that of guessing (0.100), and its loss is {_loss(last.loss)} (guessing: "
        f"{GUESSING_LOSS:.3f}). Try more epochs, or another optimizer.lr than {learning_rate:g}."
    )


def why_loss_above_guessing(last: EpochEnded, data: DataUsed, learning_rate: float) -> str | None:
    """Return by how much the loss of a network that learned is above guessing; None if it is not.

    The loss is the mean over the last epoch. In a run of one epoch, it starts from an untrained
    network, so it counts only where it has blown up.

    Args: see `why_not_learned`.
    """
    limit = GUESSING_LOSS if last.epoch > 1 else BLOWN_UP_LOSS
    above = _above_guessing(last, data)
    if last.loss < limit or not above:
        return None
    name, accuracy = next(iter(above.items()))
    return (
        f"it is {_loss(last.loss)} (guessing: {GUESSING_LOSS:.3f}), though the {name} accuracy, "
        f"{accuracy:.3f}, is above that of guessing (0.100). {_advice(last, learning_rate)}"
    )


def _advice(last: EpochEnded, learning_rate: float) -> str:
    """Return what to try against a high loss, and what one beyond all bounds shows."""
    blown_up = "" if last.loss < BLOWN_UP_LOSS else f"{BLOWN_UP} "
    return f"{blown_up}Try a smaller optimizer.lr than {learning_rate:g}."


def _loss(value: float) -> str:
    return f"{value:.3f}" if value < LARGEST_FIXED else f"{value:.2e}"


def predicts_by_guessing(last: EpochEnded, data: DataUsed) -> bool:
    """Return whether the test accuracy is that of guessing, with every kind of statistics taken."""
    return not _above_guessing(last, data).keys() - {"train"}


def _above_guessing(last: EpochEnded, data: DataUsed) -> dict[str, float]:
    """Return by name each accuracy that is above that of guessing, beyond chance."""
    taken = {
        "train": (last.train_acc, data.train_images),
        "test": (last.test_acc, data.test_images),
        "population test": (last.test_acc_population, data.test_images),
        "batch test": (last.test_acc_batch, data.test_images),
    }
    return {
        name: accuracy
        for name, (accuracy, images) in taken.items()
        if accuracy is not None and _beats_guessing(accuracy, images)
    }


def _beats_guessing(accuracy: float, images: int) -> bool:
    """Return whether an accuracy on so many images is above that of guessing, beyond chance."""
    variance = GUESSING_ACCURACY * (1 - GUESSING_ACCURACY) / max(images, 1)
    return accuracy > GUESSING_ACCURACY + MARGIN * math.sqrt(variance)
