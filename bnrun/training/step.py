"""What is trained, with what, and what one step of it is."""

from torch import Tensor, nn
from torch.nn import functional as F

from bnrun.config import Config
from bnrun.lenet import LeNet
from bnrun.norms import norm_factory
from bnrun.training.sgd import SGD


def build_model(config: Config) -> LeNet:
    """Build the network of a config, with its initial weights."""
    return LeNet(
        norm_factory(config.model.norm),
        pool=config.model.pool,
        activation=config.model.activation,
        seed=config.training.seed,
    )


def build_optimizer(config: Config, model: nn.Module) -> SGD:
    """Build stochastic gradient descent as a config states it."""
    return SGD(
        model.parameters(),
        lr=config.optimizer.lr,
        momentum=config.optimizer.momentum,
        nesterov=config.optimizer.nesterov,
        weight_decay=config.optimizer.weight_decay,
    )


def train_step(
    model: nn.Module, optimizer: SGD, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Take one step on a batch; return its mean loss and the count of right answers, on device."""
    optimizer.zero_grad()
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) == labels).sum()
