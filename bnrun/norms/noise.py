"""Noise that changes its distribution at every step: covariate shift, put in on purpose.

Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS
2018, section 2.1 and Appendix A.2.1, Algorithm 1 (arXiv:1805.11604).
"""

import torch
from torch import Tensor, nn

from bnrun.norms.batch_norm import BatchNorm


class ShiftingNoise(nn.Module):
    """Scale and shift every value by random numbers in training; in evaluation, return the input.

    The paper's Algorithm 1. For every channel j, then for every value i of it (in a convolution,
    each position of each example is a value):

        mu_j    ~ U(-n_mu, n_mu)                    the shift of this step
        sigma_j ~ U(1, n_sigma)                     the scale of this step
        m_ij    ~ U(mu_j - r_mu, mu_j + r_mu)       the shift of this value
        s_ij    ~ N(sigma_j, r_sigma)               its scale; r_sigma is read as the deviation
        y_ij    = s_ij * x_ij + m_ij

    New numbers are drawn at every call, from torch's generator of the input's device. The paper
    does not say what evaluation does; here it adds no noise.

    Shapes: input (N, C) or (N, C, ...); output the same.

    Args:
        num_features: the channel count C.
        n_mu, n_sigma, r_mu, r_sigma: the bounds above; their defaults are the paper's.
    """

    def __init__(
        self,
        num_features: int,
        n_mu: float = 0.5,
        n_sigma: float = 1.25,
        r_mu: float = 0.1,
        r_sigma: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.n_mu = n_mu
        self.n_sigma = n_sigma
        self.r_mu = r_mu
        self.r_sigma = r_sigma

    def forward(self, x: Tensor) -> Tensor:
        """Return x with noise in training, and x itself in evaluation."""
        if not self.training:
            return x
        per_channel = x.new_empty(1, x.shape[1], *[1] * (x.dim() - 2))
        mu = torch.empty_like(per_channel).uniform_(-self.n_mu, self.n_mu)
        sigma = torch.empty_like(per_channel).uniform_(1.0, self.n_sigma)
        m = mu + torch.empty_like(x).uniform_(-self.r_mu, self.r_mu)
        s = sigma + self.r_sigma * torch.randn_like(x)
        return s * x + m

    def extra_repr(self) -> str:
        """Show the arguments, as `print(module)` lists them."""
        return (
            f"{self.num_features}, n_mu={self.n_mu}, n_sigma={self.n_sigma}, r_mu={self.r_mu}, "
            f"r_sigma={self.r_sigma}"
        )


class NoisyBatchNorm(BatchNorm):
    """`BatchNorm`, whose output goes through `ShiftingNoise`.

    Args, besides `BatchNorm`'s eps and momentum: those of `ShiftingNoise`.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        n_mu: float = 0.5,
        n_sigma: float = 1.25,
        r_mu: float = 0.1,
        r_sigma: float = 0.1,
    ) -> None:
        super().__init__(num_features, eps, momentum)
        self.noise = ShiftingNoise(num_features, n_mu, n_sigma, r_mu, r_sigma)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x, of shape (N, C, ...); in training, scale and shift it by noise."""
        noisy: Tensor = self.noise(super().forward(x))
        return noisy
