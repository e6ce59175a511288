"""Accuracy of a model on a split."""

import torch
from torch import nn

from bnrun.data.dataset import Split

BATCH_SIZE = 1_000


def accuracy(model: nn.Module, split: Split) -> float:
    """Return the fraction of a split that the model classifies rightly.

    Norms use their moving statistics: the model is put into evaluation mode, and gradients are
    off (by which the textbook's layer knows). Its mode is restored.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        correct = torch.zeros((), dtype=torch.long, device=split.labels.device)
        for images, labels in split.batches(BATCH_SIZE):
            correct += (model(images).argmax(1) == labels).sum()
    model.train(was_training)
    return int(correct) / len(split)
