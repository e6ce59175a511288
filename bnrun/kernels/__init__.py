"""C++ kernels for the CPU: the layers of LeNet and some norms, and all of LeNet at once.

They are the fast path of the engine `compiled`. Inside a block of `enabled()`, the code that has a
kernel uses it: LeNet as a whole (`networks/whole.py`), its convolutions, poolings and loss
(`networks/layers.py`), the norm `scratch` (`norms/fused.py`), norms `group` and `instance`
(`norms/grouped.py`), pieces of a batch (`norms/batch_norm.py`), statistics of a population
(`norms/population.py`), and the batch of a step (`data/dataset.py`). Each asks a `supports_...`
function first. The specification of a kernel is PyTorch's own function, or `norms/reference.py` for
a norm; tests hold the kernels to it. Other norms run as their authors wrote them.

Read `lanes.h` first, which says how images lie in vectors; then `convolution.h`, where most of the
time goes; then `lenet.h`, which puts the layers together. `bnrun bench --kernels` times each.
"""

from bnrun.kernels.batch_norm import (
    batch_norm,
    batch_norm_evaluation,
    batch_statistics,
    supports_batch_norm,
)
from bnrun.kernels.build import Build, describe_build, is_compiled
from bnrun.kernels.convolution import conv2d, supports_conv2d
from bnrun.kernels.dispatch import calls, disabled, enabled, is_enabled, requests
from bnrun.kernels.gather import gather, supports_gather
from bnrun.kernels.lenet import (
    LeNetParts,
    Norm,
    lenet,
    lenet_population,
    lenet_prediction,
    supports_lenet,
    timed_stages,
)
from bnrun.kernels.lenet_step import STAGES_OF_PHASES, LeNetStep, supports_lenet_step
from bnrun.kernels.loss import cross_entropy, supports_cross_entropy
from bnrun.kernels.pooling import max_pool, sigmoid_average_pool, supports_pooling

__all__ = [
    "STAGES_OF_PHASES",
    "Build",
    "LeNetParts",
    "LeNetStep",
    "Norm",
    "batch_norm",
    "batch_norm_evaluation",
    "batch_statistics",
    "calls",
    "conv2d",
    "cross_entropy",
    "describe_build",
    "disabled",
    "enabled",
    "gather",
    "is_compiled",
    "is_enabled",
    "lenet",
    "lenet_population",
    "lenet_prediction",
    "max_pool",
    "requests",
    "sigmoid_average_pool",
    "supports_batch_norm",
    "supports_conv2d",
    "supports_cross_entropy",
    "supports_gather",
    "supports_lenet",
    "supports_lenet_step",
    "supports_pooling",
    "timed_stages",
]
