"""The images of a batch: what `gather.h` computes."""

import torch
from torch import Tensor

from bnrun.kernels.dispatch import call, is_enabled


def supports_gather(images: Tensor, index: Tensor) -> bool:
    """Return whether the kernels are enabled and can look up these images."""
    return (
        is_enabled()
        and images.is_cpu
        and images.dtype == torch.uint8
        and index.is_cpu
        and index.dtype == torch.int64
    )


def gather(images: Tensor, index: Tensor) -> Tensor:
    """Return `images[index].float() / 255`, of shape (len(index), ...).

    Args:
        images: uint8, (N, ...).
        index: int64, (batch,), of values from 0 to N - 1, which are not checked.
    """
    images, index = images.contiguous(), index.contiguous()
    batch = torch.empty(len(index), *images.shape[1:], dtype=torch.float32)
    call("gather", images, index, batch, len(index), images.shape[1:].numel())
    return batch
