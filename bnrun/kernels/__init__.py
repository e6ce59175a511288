"""Kernels for the CPU, written in C++: the layers of LeNet, forward and backward.

This is the fast path of the engine `compiled`. While the kernels are `enabled`, the modules that
have one compute by it: LeNet's convolutions and poolings (`layers.py`), and the norm
`scratch` (`norms/written_out.py`). PyTorch's own functions are the specification, and for the norm
`norms/functional.py`; tests hold each kernel to them. Other norms compute as their authors wrote.

Read `lanes.h` first, then `convolution.h`, where most of the time goes.
"""

from bnrun.kernels.functions import (
    batch_norm,
    conv2d,
    enabled,
    max_pool,
    sigmoid_average_pool,
    take,
    take_convolution,
    take_pooling,
)
from bnrun.kernels.library import is_compiled

__all__ = [
    "batch_norm",
    "conv2d",
    "enabled",
    "is_compiled",
    "max_pool",
    "sigmoid_average_pool",
    "take",
    "take_convolution",
    "take_pooling",
]
