"""What an instrument sees: the network between two steps, and a batch to take through it."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnrun.networks.layers import cross_entropy
from bnrun.networks.lenet import LeNet

Values = dict[str, dict[str, float]]
"""By layer, then by what was measured."""
Parameters = Mapping[str, Tensor]
"""Parameters of a network, by path."""


@dataclass(frozen=True)
class Sight:
    """The network between two steps, in training mode.

    Attributes:
        model: the network. An instrument changes nothing in it.
        images, labels: the batch of the probes: (N, 1, 28, 28) and (N,).
        lr: the learning rate.
    """

    model: LeNet
    images: Tensor
    labels: Tensor
    lr: float

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the network's parameters by path."""
        return dict(self.model.named_parameters())

    def gradients(
        self, parameters: Parameters, of: Collection[str] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss at these parameters, and its gradients with respect to them, by path.

        A parameter that the loss does not depend on has a gradient of 0.

        Args:
            parameters: all of the network's.
            of: the paths of those whose gradients are wanted; None means all.
        """
        fixed = {name: one.detach() for name, one in parameters.items()}
        wanted = fixed if of is None else of
        leaves = {name: fixed[name].requires_grad_() for name in wanted}
        logits = functional_call(self.model, fixed, (self.images,))
        loss = cross_entropy(logits, self.labels)
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return loss.detach(), {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
        }


def linear_layers(model: LeNet) -> dict[str, nn.Module]:
    """Return the convolutions and linear layers by name, from the input to the output."""
    names = ("conv1", "conv2", "fc1", "fc2", "fc3")
    return {name: getattr(model, name) for name in names}


def weight_path(model: LeNet, layer: str) -> str:
    """Return the path of a layer's weight, or of the larger part that it is made of."""
    parameters = dict(getattr(model, layer).named_parameters())
    return f"{layer}.{max(parameters, key=lambda path: parameters[path].numel())}"


def preactivations(model: LeNet) -> dict[str, nn.Module]:
    """Return the modules whose outputs enter the four nonlinearities, by the layer before."""
    names = ("conv1", "conv2", "fc1", "fc2")
    if isinstance(model.act_before_norm, nn.Identity):
        return {name: getattr(model, f"norm{at}") for at, name in enumerate(names, start=1)}
    return {name: getattr(model, name) for name in names}


@contextlib.contextmanager
def outputs_of(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Return a dict that each module's output is put into, by name, when it is called."""
    outputs: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = output

        return hook

    hooks = [one.register_forward_hook(keeping(name)) for name, one in modules.items()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def rms(x: Tensor) -> float:
    """Return the root of the mean square."""
    return float(x.detach().double().square().mean().sqrt())


def norm(tensors: Mapping[str, Tensor]) -> float:
    """Return the length of several tensors as one vector."""
    return float(
        torch.stack([one.double().square().sum() for one in tensors.values()]).sum().sqrt()
    )


def cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Return the cosine of the angle between two vectors of several tensors; 1 where one is 0."""
    product = sum(float((a[name].double() * b[name].double()).sum()) for name in a)
    lengths = norm(a) * norm(b)
    return product / lengths if lengths else 1.0


def difference(a: Parameters, b: Parameters) -> dict[str, Tensor]:
    """Return a - b, tensor by tensor."""
    return {name: a[name] - b[name] for name in a}
