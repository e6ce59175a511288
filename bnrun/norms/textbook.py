"""Norm `textbook`: the layer as *Dive into Deep Learning* gives it, faults included.

Source: Zhang, Lipton, Li and Smola, *Dive into Deep Learning*, section "Batch Normalization"
(8.5; 7.5 in the second Chinese edition), where it is derived from Ioffe & Szegedy 2015. Many
learners have written this layer, and `scratch` is compared with it. Do not correct its faults.

It differs from PyTorch's layer, on purpose or not:

- the mode depends on gradients: it predicts where `torch.is_grad_enabled()` is false, and `train()`
  and `eval()` have no effect;
- the moving variance is biased (it divides by the count);
- `momentum` is the weight of the *old* average (0.9, which is PyTorch's 0.1);
- the moving statistics are plain attributes, absent from `state_dict` and not moved by `.to()`;
- it accepts one value per channel in training, whose variance is 0.
"""

import torch
from torch import Tensor, nn


def batch_norm(
    X: Tensor,
    gamma: Tensor,
    beta: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    eps: float,
    momentum: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize X, of shape (N, F) or (N, C, H, W).

    Returns:
        Y, the moving mean and the moving variance. In training the last two are new tensors; both
        are detached.

    Raises:
        ValueError: X has another rank.
    """
    if X.dim() not in (2, 4):
        raise ValueError(f"expected 2D or 4D input (got {X.dim()}D input)")
    if not torch.is_grad_enabled():
        X_hat = (X - moving_mean) / torch.sqrt(moving_var + eps)
    else:
        if X.dim() == 2:
            mean = X.mean(dim=0)
            var = ((X - mean) ** 2).mean(dim=0)
        else:
            mean = X.mean(dim=(0, 2, 3), keepdim=True)
            var = ((X - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        X_hat = (X - mean) / torch.sqrt(var + eps)
        moving_mean = momentum * moving_mean + (1.0 - momentum) * mean
        moving_var = momentum * moving_var + (1.0 - momentum) * var
    Y = gamma * X_hat + beta
    return Y, moving_mean.detach(), moving_var.detach()


class TextbookBatchNorm(nn.Module):
    """The textbook's layer; the top of this file lists its traps.

    Args:
        num_features: outputs of a fully connected layer, or channels of a convolution.
        num_dims: 2 for a fully connected layer, 4 for a convolution.

    `gamma` (starts at 1), `beta` (0), `moving_mean` (0) and `moving_var` (1) have the shape
    (1, F) for `num_dims` 2 and (1, C, 1, 1) for 4. eps is 1e-5 and momentum 0.9.
    """

    moving_mean: Tensor
    moving_var: Tensor

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean = torch.zeros(shape)
        self.moving_var = torch.ones(shape)

    def forward(self, X: Tensor) -> Tensor:
        """Normalize X, of shape (N, F) or (N, C, H, W)."""
        if self.moving_mean.device != X.device:
            self.moving_mean = self.moving_mean.to(X.device)
            self.moving_var = self.moving_var.to(X.device)
        Y, self.moving_mean, self.moving_var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, eps=1e-5, momentum=0.9
        )
        return Y
