"""Kernels for the CPU, written in C++: the layers of LeNet, forward and backward.

This is the fast path of the engine `compiled`. While the kernels are `enabled`, what has one
computes by it: LeNet's convolutions and poolings and the loss (`networks/layers.py`), the norm
`scratch` (`norms/fused.py`), and the batch that a step begins with (`data/dataset.py`). PyTorch's
own functions are the specification, and for the norm `norms/reference.py`; tests hold each kernel
to them. Other norms compute as their authors wrote.

Read `lanes.h` first, then `convolution.h`, where most of the time goes.
"""

from bnrun.kernels.batch_norm import batch_norm, batch_norm_by
from bnrun.kernels.build import is_compiled
from bnrun.kernels.convolution import conv2d, take_convolution
from bnrun.kernels.dispatch import disabled, enabled, is_enabled, take
from bnrun.kernels.loss import cross_entropy, gather
from bnrun.kernels.pooling import max_pool, sigmoid_average_pool, take_pooling

__all__ = [
    "batch_norm",
    "batch_norm_by",
    "conv2d",
    "cross_entropy",
    "disabled",
    "enabled",
    "gather",
    "is_compiled",
    "is_enabled",
    "max_pool",
    "sigmoid_average_pool",
    "take",
    "take_convolution",
    "take_pooling",
]
