"""LeNet in one call, where kernels compute all of it.

The formulas are the same. What is element-wise is then computed on the way from one layer to the
next, and never stored: see `bnrun/kernels/lenet.h`. A norm takes part in that where it has a method
`as_kernel_norm`; with another norm, the network is computed layer by layer.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from bnrun import kernels
from bnrun.networks.layers import (
    ActivatedAveragePool,
    ActivatedMaxPool,
    Convolution,
    has_hooks,
)

if TYPE_CHECKING:
    from bnrun.networks.lenet import LeNet


def in_one_call(model: "LeNet", x: Tensor) -> Tensor | None:
    """Return the logits of images, computed in one call; None where layers must be called.

    They must be called where kernels are not enabled or do not support the images; where a norm has
    no kernel of its own; where a layer has hooks; and for gradients of predictions.
    """
    if not kernels.is_enabled() or (not model.training and torch.is_grad_enabled()):
        return None
    parts = _parts(model)
    if parts is None or not kernels.supports_lenet(x, parts):
        return None
    if not model.training:
        return kernels.lenet_prediction(x, parts)
    return kernels.lenet(x, parts) if len(x) > 1 else None  # of one image, a norm refuses


def take_population_in_one_call(model: "LeNet", images: Tensor) -> bool:
    """Replace the norms' moving statistics by those of all images, as `use_population` does.

    Args:
        model: in evaluation mode; its class has no `forward` of its own.
        images: (N, 1, 28, 28), all of the population. For each, 10 kB are kept.

    Returns: whether it could be computed in one call; else nothing has changed.
    """
    parts = _parts(model) if kernels.is_enabled() and not has_hooks(model) else None
    if parts is None or not kernels.supports_lenet(images, parts):
        return False
    statistics = kernels.lenet_population(images, parts)
    for norm, mean_and_var in zip(parts.norms, statistics, strict=True):
        if norm is not None and mean_and_var is not None:
            norm.moving_mean.copy_(mean_and_var[0])
            norm.moving_var.copy_(mean_and_var[1])
    return True


def lenet_step(
    model: "LeNet",
    images: Tensor,
    labels: Tensor,
    trained: Sequence[Tensor],
    velocities: Sequence[Tensor],
    batch_size: int,
) -> kernels.LeNetStep | None:
    """Return what takes training steps in one call each, while nobody changes the model.

    None where layers must be called: see `in_one_call`; or where the model or a parameter has
    hooks, which a step would not call.

    Args:
        model: in training; its class has no `forward` of its own.
        images, labels: uint8, (N, 1, 28, 28), and int64, (N,).
        trained: the parameters that a step updates.
        velocities: one for each of them, or none.
        batch_size: of the largest batch.
    """
    if not kernels.is_enabled() or not model.training or has_hooks(model):
        return None
    parts = _parts(model)
    if parts is None or not kernels.supports_lenet_step(images, labels, parts, velocities):
        return None
    computed = [tensor for tensor in (*parts.layers, *parts.affine()) if tensor is not None]
    if sorted(map(id, computed)) != sorted(id(p) for p in trained if p.requires_grad):
        return None  # some are not trained, or one stands in two places
    if any(p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None) for p in computed):
        return None
    by_parameter = {id(p): velocity for p, velocity in zip(trained, velocities, strict=False)}
    return kernels.LeNetStep(images, labels, parts, by_parameter, batch_size)


def can_be_one_call(model: "LeNet") -> bool:
    """Return whether kernels can compute all of a network, as it is now, in one call."""
    return _parts(model) is not None


def _parts(model: "LeNet") -> kernels.LeNetParts | None:
    """Return what the kernels need of a network; None where they do not compute the same."""
    layers = (model.conv1, model.conv2, model.fc1, model.fc2, model.fc3)
    norms = (model.norm1, model.norm2, model.norm3, model.norm4)
    activation, pool = model.act_after_norm, model.act_pool
    if (
        [type(layer) for layer in layers] != [Convolution] * 2 + [nn.Linear] * 3
        or type(model.act_before_norm) is not nn.Identity
        or (model.training and type(model.dropout) is not nn.Identity)
        or type(activation) not in (nn.Sigmoid, nn.ReLU)
        or type(pool) not in (ActivatedAveragePool, ActivatedMaxPool)
        or pool.activation is not activation
        or not (model.conv1.is_plain and model.conv2.is_plain)
        or _are_called([*layers, *norms, model.act_before_norm, activation, pool, model.dropout])
    ):
        return None
    kernel_norms: list[kernels.Norm | None] = []
    for norm in norms:
        if type(norm) is nn.Identity:
            kernel_norms.append(None)
            continue
        as_kernel_norm = getattr(norm, "as_kernel_norm", None)
        kernel_norm = as_kernel_norm() if as_kernel_norm is not None else None
        if kernel_norm is None or norm.training != model.training:
            return None
        kernel_norms.append(kernel_norm)
    weights = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    is_relu, is_max = type(activation) is nn.ReLU, type(pool) is ActivatedMaxPool
    return kernels.LeNetParts(is_relu, is_max, weights, kernel_norms)


def _are_called(modules: Iterable[nn.Module]) -> bool:
    """Return whether modules must be called: they have hooks, or autograd is asked for errors."""
    hooked = torch_module._has_any_global_hook()  # type: ignore[no-untyped-call,unused-ignore]
    return hooked or torch.is_anomaly_enabled() or any(map(has_hooks, modules))
