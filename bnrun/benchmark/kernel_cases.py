"""What `bnrun bench --kernels` times: every kernel, and PyTorch's operation that does the same.

`CASES` is the list. A kernel that is added to `bnrun.kernels` needs one entry in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bnrun import kernels
from bnrun.networks.layers import cross_entropy
from bnrun.networks.lenet import LAYER_FLOPS, LeNet, backward_flops, forward_flops
from bnrun.norms import norm_factory

Side = Literal["kernel", "torch"]
Unit = Literal["FLOP", "byte"]
Function = Callable[..., Tensor]
Input = Callable[[int, torch.Generator], Tensor]
"""Makes an input for a number of images."""

FLOAT_BYTES = 4
COPIED_VALUES = 6 * 24 * 24
"""Floats for each image that the measurement of memory copies: the output of conv1."""
PIXELS = 28 * 28
TRAINING_IMAGES = 60_000


@dataclass(frozen=True)
class Job:
    """An operation on its inputs, ready to be called.

    Attributes:
        run: computes the output.
        leaves: what the backward pass computes gradients of; empty where there is no backward pass.
    """

    run: Callable[[], Tensor]
    leaves: Sequence[Tensor]


@dataclass(frozen=True)
class KernelCase:
    """A kernel beside PyTorch's operation.

    Attributes:
        name: for humans.
        prepare: returns the job of one side, for a number of images.
        unit: of the work: operations, or bytes where memory is what takes time.
        forward: work on one image: multiplications and additions; or the bytes of inputs and
            outputs, each counted once, however often a kernel reads them.
        backward: the same of the gradients; None where there are none.
    """

    name: str
    prepare: Callable[[Side, int], Job]
    unit: Unit
    forward: int
    backward: int | None


def _operation(kernel: Function, operation: Function, *inputs: Input) -> Callable[..., Job]:
    """Return what prepares a function of tensors, which are the same on both sides."""

    def prepare(side: Side, images: int) -> Job:
        generator = torch.Generator().manual_seed(0)
        tensors = [one(images, generator) for one in inputs]
        function = kernel if side == "kernel" else operation
        leaves = [tensor for tensor in tensors if tensor.requires_grad]
        return Job(lambda: function(*tensors), leaves)

    return prepare


def _activations(*shape: int) -> Input:
    """Return what makes (images, *shape) random numbers, whose gradient is asked for."""
    return lambda images, generator: torch.randn(
        images, *shape, generator=generator
    ).requires_grad_()


def _images(images: int, generator: torch.Generator) -> Tensor:
    return torch.rand(images, 1, 28, 28, generator=generator)


def _training_images(images: int, generator: torch.Generator) -> Tensor:
    shape = (TRAINING_IMAGES, 1, 28, 28)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def _index(images: int, generator: torch.Generator) -> Tensor:
    return torch.randint(TRAINING_IMAGES, (images,), generator=generator)


def _labels(images: int, generator: torch.Generator) -> Tensor:
    return torch.randint(10, (images,), generator=generator)


def _parameter(*shape: int) -> Input:
    return lambda _, generator: torch.randn(shape, generator=generator).requires_grad_()


def _gather(images: Tensor, index: Tensor) -> Tensor:
    return images[index].float().div_(255)


def _convolution(name: str, inner: int, outer: int, size: int, flops: int) -> KernelCase:
    """Return the case of a convolution; the first one's input, the images, needs no gradient."""
    x = _images if inner == 1 else _activations(inner, size, size)
    weight, bias = _parameter(outer, inner, 5, 5), _parameter(outer)
    prepare = _operation(kernels.conv2d, F.conv2d, x, weight, bias)
    return KernelCase(name, prepare, "FLOP", flops, flops if inner == 1 else 2 * flops)


def _norm(name: str, *shape: int) -> KernelCase:
    channels = shape[0]
    mean, var = torch.zeros(channels), torch.ones(channels)

    def kernel(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return kernels.batch_norm(x, gamma, beta, mean, var, momentum=0.1, eps=1e-5)[0]

    def operation(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return F.batch_norm(x, mean, var, gamma, beta, training=True, momentum=0.1, eps=1e-5)

    inputs = (_activations(*shape), _parameter(channels), _parameter(channels))
    size = _float_bytes(*shape)
    return KernelCase(name, _operation(kernel, operation, *inputs), "byte", 2 * size, 3 * size)


def _predicting_norm(name: str, *shape: int) -> KernelCase:
    channels = shape[0]
    vectors = (torch.ones(channels), torch.zeros(channels))
    moving = (torch.zeros(channels), torch.ones(channels))

    def kernel(x: Tensor) -> Tensor:
        return kernels.batch_norm_evaluation(x, *vectors, *moving, 1e-5)

    def operation(x: Tensor) -> Tensor:
        return F.batch_norm(x, *moving, *vectors, training=False, eps=1e-5)

    def x(images: int, generator: torch.Generator) -> Tensor:
        return torch.randn(images, *shape, generator=generator)

    return KernelCase(
        name, _operation(kernel, operation, x), "byte", 2 * _float_bytes(*shape), None
    )


def _pool(name: str, kernel: Function, operation: Function, *shape: int) -> KernelCase:
    size = _float_bytes(*shape)
    prepare = _operation(kernel, operation, _activations(*shape))
    return KernelCase(name, prepare, "byte", size + size // 4, 2 * size + size // 4)


def _lenet(side: Side, images: int) -> Job:
    """Return LeNet and its loss: with norm `scratch` by kernels, or with PyTorch's norms."""
    generator = torch.Generator().manual_seed(0)
    x, labels = _images(images, generator), _labels(images, generator)
    model = LeNet(norm_factory("scratch" if side == "kernel" else "builtin"))
    return Job(lambda: cross_entropy(model(x), labels), list(model.parameters()))


def _lenet_in_eval(side: Side, images: int) -> Job:
    """Return LeNet's prediction by moving statistics, as an evaluation computes it."""
    x = _images(images, torch.Generator().manual_seed(0))
    model = LeNet(norm_factory("scratch" if side == "kernel" else "builtin")).eval()

    def predict() -> Tensor:
        with torch.no_grad():
            logits: Tensor = model(x)
        return logits

    return Job(predict, ())


def _float_bytes(*shape: int) -> int:
    return FLOAT_BYTES * torch.Size(shape).numel()


def _sigmoid_average_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(torch.sigmoid(x), 2)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


CASES = (
    KernelCase("LeNet + loss", _lenet, "FLOP", forward_flops(), backward_flops()),
    KernelCase("LeNet in eval", _lenet_in_eval, "FLOP", forward_flops(), None),
    _convolution("conv1", 1, 6, 28, LAYER_FLOPS["conv1"]),
    _convolution("conv2", 6, 16, 12, LAYER_FLOPS["conv2"]),
    KernelCase(
        "image batch",
        _operation(kernels.gather, _gather, _training_images, _index),
        "byte",
        PIXELS + _float_bytes(PIXELS),
        None,
    ),
    _norm("norm1", 6, 24, 24),
    _norm("norm2", 16, 8, 8),
    _norm("norm3", 120),
    _norm("norm4", 84),
    _predicting_norm("norm1 in eval", 6, 24, 24),
    _pool("avg pool 1", kernels.sigmoid_average_pool, _sigmoid_average_pool, 6, 24, 24),
    _pool("avg pool 2", kernels.sigmoid_average_pool, _sigmoid_average_pool, 16, 8, 8),
    _pool("max pool 1", kernels.max_pool, _max_pool, 6, 24, 24),
    _pool("max pool 2", kernels.max_pool, _max_pool, 16, 8, 8),
    KernelCase(
        "loss",
        _operation(kernels.cross_entropy, F.cross_entropy, _activations(10), _labels),
        "byte",
        2 * _float_bytes(10),
        2 * _float_bytes(10),
    ),
)
"""Every kernel, in the sizes of LeNet; those whose work is arithmetic first."""
