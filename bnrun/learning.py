"""Did a network learn? Its last epoch, beside what guessing one of the ten classes reaches."""

import math
from collections.abc import Iterator

from bnrun.events import DataUsed, EpochEnded

CLASSES = 10
GUESSING_ACCURACY = 1 / CLASSES
GUESSING_LOSS = math.log(CLASSES)
"""Cross-entropy of giving every class the same probability: 2.303."""

BLOWN_UP_LOSS = 1e6
"""Loss beyond which the weights have grown without bound, although they are still finite."""

MARGIN = 3.0
"""Standard errors above guessing up to which an accuracy is no better than guessing."""


def why_not_learned(last: EpochEnded, data: DataUsed, learning_rate: float) -> str | None:
    """Return why a network has not learned, and what to try; None if it has.

    The loss is the mean over the last epoch. In a run of one epoch, it starts from an untrained
    network, so the loss then counts only if every accuracy is that of guessing, too.

    Args:
        last: the last epoch of a training that reached its end.
        data: its images; how many there are decides how far from 0.1 a guess may fall.
        learning_rate: of its optimizer.
    """
    if not last.loss < BLOWN_UP_LOSS:
        return (
            f"its loss ended at {last.loss:.0e}, where guessing has "
            f"{GUESSING_LOSS:.3f}. Its weights have blown up without becoming infinite. Try a "
            f"smaller optimizer.lr than {learning_rate:g}."
        )
    if not any(_beats_guessing(*one) for one in _accuracies(last, data)):
        epochs = "one epoch" if last.epoch == 1 else f"{last.epoch} epochs"
        return (
            f"after {epochs} its train accuracy, {last.train_acc:.3f}, "
            f"is that of guessing (0.100), and its loss is {last.loss:.3f} (guessing: "
            f"{GUESSING_LOSS:.3f}). Try more epochs, or another optimizer.lr than "
            f"{learning_rate:g}."
        )
    if last.loss >= GUESSING_LOSS and last.epoch > 1:
        return (
            f"its loss ended at {last.loss:.3f}, above the {GUESSING_LOSS:.3f} of guessing, though "
            f"its train accuracy is {last.train_acc:.3f}. Try a smaller optimizer.lr than "
            f"{learning_rate:g}."
        )
    return None


def predicts_by_guessing(last: EpochEnded, data: DataUsed) -> bool:
    """Return whether the test accuracy is that of guessing, with every kind of statistics taken."""
    _, *tested = _accuracies(last, data)
    return not any(_beats_guessing(*one) for one in tested)


def _beats_guessing(accuracy: float, images: int) -> bool:
    """Return whether an accuracy on so many images is above that of guessing, beyond chance."""
    variance = GUESSING_ACCURACY * (1 - GUESSING_ACCURACY) / max(images, 1)
    return accuracy > GUESSING_ACCURACY + MARGIN * math.sqrt(variance)


def _accuracies(last: EpochEnded, data: DataUsed) -> Iterator[tuple[float, int]]:
    """Yield each accuracy that was taken, the one in training first, with its number of images."""
    yield last.train_acc, data.train_images
    for tested in (last.test_acc, last.test_acc_population, last.test_acc_batch):
        if tested is not None:
            yield tested, data.test_images
