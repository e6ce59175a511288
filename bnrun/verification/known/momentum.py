"""How the moving statistics move towards what is kept: right, then as people get it wrong.

    moving <- (1 - momentum) * moving + momentum * kept

momentum is 0.1 in PyTorch's words; the textbook's 0.9 weighs the old average, which is the same.
"""

import dataclasses
from collections.abc import Callable

from torch import Tensor

from bnrun.verification.known.fault import Choice, Fault

Update = Callable[[Tensor, Tensor, int], Tensor]  # of old, new, and the count of batches with it


def weighing(weight: float) -> Update:
    """Return the update in which a new batch has a weight."""
    return lambda old, new, k: (1 - weight) * old + weight * new


def cumulative(old: Tensor, new: Tensor, k: int) -> Tensor:
    """Return the plain average over k batches, of which `new` is the last."""
    return old + (new - old) / k


OTHER_MOMENTUM = Fault(
    "momentum-value",
    "Each new batch has another weight in the moving statistics than 0.1, which it has in PyTorch "
    "and the textbook.",
    "Use momentum 0.1 in PyTorch's words (the weight of the new batch), which is 0.9 in the "
    "textbook's (the weight of the old average).",
    "many: momentum is a free choice",
)
MOMENTUM_REVERSED = Fault(
    "momentum-reversed",
    "Momentum runs the wrong way: each new batch weighs 0.9 in the moving statistics, and all that "
    "came before 0.1.",
    "With PyTorch's momentum of 0.1: (1 - momentum) * old + momentum * new. With the textbook's of "
    "0.9: momentum * old + (1 - momentum) * new.",
)
NO_AVERAGE = Fault(
    "moving-statistics-no-average",
    "The moving statistics are no average: the weights of old and new are not between 0 and 1.",
    "Use (1 - momentum) * old + momentum * new, with momentum 0.1.",
)


def weight_of(weight: float) -> Choice[Update]:
    """Return another weight of the new batch than PyTorch's 0.1, as a choice.

    Below a half it is a choice; from there on, momentum is the wrong way round.
    """
    old = 1 - weight
    if 0 < weight < 0.5:
        fault = dataclasses.replace(
            OTHER_MOMENTUM,
            says=f"Each new batch weighs {weight:.4g} in the moving statistics; in PyTorch and the "
            "textbook it weighs 0.1.",
            speakers="Keras and Flax, as momentum 0.99"
            if abs(weight - 0.01) < 1e-9
            else OTHER_MOMENTUM.speakers,
        )
    elif 0 < weight < 1:
        fault = dataclasses.replace(
            MOMENTUM_REVERSED,
            says=f"Momentum runs the wrong way: each new batch weighs {weight:.4g} in the moving "
            f"statistics, and all that came before {old:.4g}.",
        )
    else:
        fault = dataclasses.replace(
            NO_AVERAGE,
            says=f"The moving statistics are no average: a new batch weighs {weight:.4g}, and the "
            f"old average {old:.4g}.",
        )
    return Choice(weighing(weight), fault)


UPDATE: tuple[Choice[Update], ...] = (
    Choice(weighing(0.1)),
    weight_of(0.9),
    Choice(
        weighing(0.0),
        Fault(
            "never-moves",
            "The moving statistics never move.",
            "Assign the new values in training: to self (self.running_mean = ...), or in place "
            "(.copy_, .mul_().add_()); a new local variable of that name is lost.",
        ),
    ),
    Choice(
        weighing(1.0),
        Fault(
            "replaced-by-batch",
            "The moving statistics are those of the last batch alone: nothing of the old average "
            "is kept.",
            "Use (1 - momentum) * old + momentum * new, with momentum 0.1.",
        ),
    ),
    Choice(
        lambda old, new, k: old + 0.1 * new,
        Fault(
            "old-average-not-weighed",
            "The old average is not weighed down: old + 0.1 * new grows with every batch.",
            "Use (1 - momentum) * old + momentum * new.",
        ),
    ),
    Choice(
        lambda old, new, k: 0.9 * old + new,
        Fault(
            "new-batch-not-weighed",
            "The new batch is not weighed: 0.9 * old + new settles at ten times the right value.",
            "Use (1 - momentum) * old + momentum * new.",
        ),
    ),
    Choice(
        lambda old, new, k: 0.1 * old + 0.1 * new,
        Fault(
            "both-weighed-alike",
            "Old average and new batch weigh 0.1 each, so most is lost with every batch.",
            "Use (1 - momentum) * old + momentum * new.",
        ),
    ),
    Choice(
        weighing(1 - 0.9**2),
        Fault(
            "moves-twice",
            "The moving statistics move twice for each batch.",
            "Update them once a forward pass.",
        ),
    ),
    Choice(
        cumulative,
        Fault(
            "cumulative-average",
            "The moving statistics are the plain average over all batches seen, not an "
            "exponential one.",
            "Use (1 - momentum) * old + momentum * new.",
            "PyTorch, with momentum=None",
        ),
    ),
    Choice(
        lambda old, new, k: new if k == 1 else 0.9 * old + 0.1 * new,
        Fault(
            "first-batch-initializes",
            "The first batch's statistics replace what the moving statistics start with; from the "
            "second on they are averaged.",
            "Average the first batch in, too: 0.9 * old + 0.1 * new.",
            "some: it starts the average where the data is",
        ),
    ),
    weight_of(0.01),
)
