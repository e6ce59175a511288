"""How a network's outputs in several modes differ: accuracies, or distances of samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnrun.health.batches import tensors_in
from bnrun.health.evidence import Mode
from bnrun.health.passes import sample

LOGITS = ("logits", "out", "scores", "output")
"""Names under which networks return class scores in a dict, the likeliest first."""


@dataclass
class Seen:
    """The outputs of one mode so far: a sample of each batch's, and how many classes were right."""

    samples: list[Tensor] = field(default_factory=list)
    right: int = 0
    judged: int = 0
    classes: int = 0

    def add(self, output: Any, targets: Tensor | None) -> None:
        """Add a batch's output; with targets, class indices of shape (N,), judge it."""
        self.samples += [sample(one) for one in tensors_in(output) if one.is_floating_point()]
        if targets is None:
            return
        predicted, classes = predicted_classes(output, targets)
        if predicted is not None:
            self.right += int((predicted.cpu() == targets.cpu()).sum())
            self.judged += len(targets)
            self.classes = classes


def predicted_classes(output: Any, targets: Tensor) -> tuple[Tensor | None, int]:
    """Return the predicted class of each example, and how many classes there are.

    It is the largest of the scores, the first output of shape (N, K) with more classes than the
    targets name. One score for two classes says the second where it is a positive logit, or a
    probability above 1/2.
    """
    if isinstance(output, Mapping):
        output = next((output[name] for name in LOGITS if name in output), output)
    highest = int(targets.max()) if len(targets) else 0
    for scores in tensors_in(output):
        if scores.dim() == 2 and len(scores) == len(targets) and scores.shape[1] > max(highest, 1):
            return scores.argmax(1), scores.shape[1]
        if scores.numel() == len(targets) and scores.is_floating_point() and highest <= 1:
            flat = scores.reshape(-1)
            is_share = bool(((flat >= 0) & (flat <= 1)).all())
            return (flat > (0.5 if is_share else 0.0)).long(), 2
    return None, 0


def distance(samples: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Return the root mean square difference, in units of the first samples' deviation."""
    pairs = [
        (one, other)
        for one, other in zip(samples, others, strict=False)
        if one.shape == other.shape and one.numel() > 0
    ]
    if not pairs:
        return 0.0
    first = torch.cat([one for one, _ in pairs]).double()
    second = torch.cat([other for _, other in pairs]).double()
    difference = (second - first).square().mean().sqrt()
    if float(difference) == 0:
        return 0.0
    spread = first.std(correction=0)
    return float(difference / spread.clamp_min(torch.finfo(torch.float32).tiny))


def accuracies(seen: Mapping[Mode, Seen]) -> dict[Mode, float]:
    """Return the fraction of right classes in each mode that judged any."""
    return {mode: one.right / one.judged for mode, one in seen.items() if one.judged}


def distances(seen: Mapping[Mode, Seen]) -> dict[Mode, float]:
    """Return how far the outputs of each other mode lie from those of `moving`."""
    if "moving" not in seen:
        return {}
    first = seen["moving"].samples
    return {
        mode: distance(first, one.samples)
        for mode, one in seen.items()
        if mode != "moving" and len(one.samples) == len(first)
    }
