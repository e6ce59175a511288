"""Batch normalization with one part of its formula changed, to see what that part does.

Every layer here is `BatchNorm` but for the part that its class names. The moving statistics are
`running_mean` and `running_var`, whatever stands for the variance; so whatever reads statistics
(population statistics, `inspect-gamma`) works for all of them. Computed by autograd; only
`BatchRenorm` in pieces uses a kernel.
"""

import math

import torch
from torch import Tensor

from bnrun.norms.batch_norm import BatchNorm
from bnrun.norms.reference import check, layout, move, widen


class BatchVariant(BatchNorm):
    """A batch normalization whose statistics or whose use of them a subclass replaces.

    Shapes, arguments, parameters, buffers and errors: see `BatchNorm`.
    """

    def statistics(self, x: Tensor, over: list[int], m: int) -> tuple[Tensor, Tensor]:
        """Return the batch's mean and biased variance, of shape (C,).

        Args:
            x: the input, in float32 or wider.
            over: the dimensions of x that a channel's values lie along.
            m: the number of values of a channel.
        """
        mean = x.sum(over, keepdim=True) / m
        var = (x - mean).square().sum(over) / m
        return mean.flatten(), var

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return x normalized, before scale and shift; the statistics have a shape to broadcast."""
        return (x - mean) * torch.rsqrt(var + self.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x, of shape (N, C, ...); in training, update the moving statistics too."""
        uses_batch = self.training or self.running_mean is None or self.running_var is None
        vectors = (self.weight, self.bias, self.running_mean, self.running_var)
        count = check(x, *vectors, training=uses_batch)
        over, per_channel, m = layout(x)
        x_wide = widen(x)
        if uses_batch:
            mean, var = self.statistics(x_wide, over, m)
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, var = widen(self.running_mean), widen(self.running_var)
        y = self.normalize(x_wide, mean.view(per_channel), var.view(per_channel))
        if self.training and self.track_running_stats:
            moving = (self.running_mean, self.running_var)
            self._replace_moving_statistics(*move(*moving, mean, var, self._count_batch(), count))
        if self.weight is not None:
            y = y * self.weight.view(per_channel)
        if self.bias is not None:
            y = y + self.bias.view(per_channel)
        return y.to(x.dtype)


class MeanOnlyBatchNorm(BatchVariant):
    """Subtract the batch's mean and do not divide: y = gamma * (x - mean) + beta.

    Salimans and Kingma, "Weight Normalization", NeurIPS 2016, section 3 (arXiv:1602.07868), who
    combine it with weight normalization and learn a shift alone.
    """

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return x - mean."""
        return x - mean


class VarianceOnlyBatchNorm(BatchVariant):
    """Divide by the deviation and keep the mean: y = gamma * x / sqrt(var + eps) + beta.

    *Dive into Deep Learning*, section "Batch Normalization", asks for it in its fourth exercise.
    The variance is taken about the mean.
    """

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return x / sqrt(var + eps)."""
        return x * torch.rsqrt(var + self.eps)


class L1BatchNorm(BatchVariant):
    """Divide by the mean absolute deviation, scaled to the standard deviation of a Gaussian.

        var = (sqrt(pi / 2) * sum(|x - mean|) / m)^2

    Hoffer, Banner, Golan and Soudry, "Norm matters", NeurIPS 2018 (arXiv:1803.01814).
    They add eps to the deviation; here it is added to its square, as in batch normalization.
    """

    def statistics(self, x: Tensor, over: list[int], m: int) -> tuple[Tensor, Tensor]:
        """Return the batch's mean, and what stands for its variance."""
        mean = x.sum(over, keepdim=True) / m
        deviation = (x - mean).abs().sum(over) / m * math.sqrt(math.pi / 2)
        return mean.flatten(), deviation.square()


class LInfBatchNorm(BatchVariant):
    """Divide by the largest absolute deviation, with a factor that falls as the batch grows.

        var = (c(m) * max(|x - mean|))^2,   c(m) = (1 + sqrt(pi * ln 4)) / sqrt(8 * ln m)

    Hoffer, Banner, Golan and Soudry, "Norm matters", NeurIPS 2018 (arXiv:1803.01814).
    Their factor is the middle of two bounds on a largest Gaussian deviation: the output of a large
    Gaussian batch has a deviation of about .7. They add eps to the deviation; here it is added to
    its square, as in batch normalization.
    """

    def statistics(self, x: Tensor, over: list[int], m: int) -> tuple[Tensor, Tensor]:
        """Return the batch's mean, and what stands for its variance."""
        mean = x.sum(over, keepdim=True) / m
        if x.numel() == 0:
            return mean.flatten(), mean.flatten()
        scale = (1 + math.sqrt(math.pi * math.log(4))) / math.sqrt(8 * math.log(m))
        deviation = (x - mean).abs().amax(over) * scale
        return mean.flatten(), deviation.square()


class BatchRenorm(BatchVariant):
    """Batch renormalization: training corrects the batch's statistics towards the moving ones.

        r = clip(sigma_batch / sigma_moving, 1 / r_max, r_max)              (no gradient)
        d = clip((mean_batch - mean_moving) / sigma_moving, -d_max, d_max)  (no gradient)
        y = gamma * ((x - mean_batch) / sigma_batch * r + d) + beta

    with sigma = sqrt(var + eps). Ioffe, "Batch Renormalization", NeurIPS 2017, Algorithm 1
    (arXiv:1702.03275). For the first `warmup` batches it is batch normalization (r_max 1, d_max 0).
    Then the bounds grow linearly: r_max is reached after 8 `warmup` batches, d_max after 5, which
    are the proportions of the paper's 5,000, 40,000 and 25,000 steps. The paper averages sigma;
    here the unbiased variance is averaged, as in batch normalization.

    Args, besides `BatchNorm`'s:
        r_max: the largest correction of the scale, at least 1.
        d_max: the largest correction of the mean, in deviations.
        warmup: how many batches are normalized without correction; 0 corrects from the first on.

    Raises:
        ValueError: a bound is below its least value.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup: int = 235,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine)
        for name, value, least in (("r_max", r_max, 1), ("d_max", d_max, 0), ("warmup", warmup, 0)):
            if not value >= least:
                raise ValueError(f"{name} (={value}) must be {least} or more")
        self.r_max = r_max
        self.d_max = d_max
        self.warmup = warmup

    def bounds(self) -> tuple[float, float]:
        """Return r_max and d_max for the next batch."""
        assert self.num_batches_tracked is not None
        past = int(self.num_batches_tracked) - self.warmup
        if self.warmup == 0:
            return self.r_max, self.d_max
        r_share = min(max(past / (7 * self.warmup), 0.0), 1.0)
        d_share = min(max(past / (4 * self.warmup), 0.0), 1.0)
        return 1 + r_share * (self.r_max - 1), d_share * self.d_max

    def forward_in_pieces(self, x: Tensor, examples: int) -> Tensor:
        """Normalize x as if each `examples` of it were a batch; N must be a multiple of them.

        A piece is corrected towards the moving statistics that those before it have left. They are
        known once each piece's own are, so that scale and shift of all pieces are one call: a call
        for each of 64 pieces took nine tenths of a training step.
        """
        vectors = (self.weight, self.bias, self.running_mean, self.running_var)
        count = check(x[:examples], *vectors, training=True)
        assert self.running_mean is not None
        assert self.running_var is not None
        pieces, channels = len(x) // examples, x.shape[1]
        with torch.no_grad():
            apart = widen(x).reshape(pieces, examples, channels, -1)
            var, mean = torch.var_mean(apart, (1, 3), correction=0)
            moving = [torch.stack([widen(self.running_mean), widen(self.running_var)])]
            bounds = []
            for own in torch.stack([mean, var * (count / (count - 1))], 1):
                bounds.append(self.bounds())
                moving.append(torch.lerp(moving[-1], own.to(moving[-1]), self._count_batch()))
            moving_mean, moving_var = torch.stack(moving[:-1]).unbind(1)
            limits = mean.new_tensor(bounds).T[..., None]
            r, d = self._corrections(mean, var, moving_mean, moving_var, limits)
        gamma, beta = r, d
        if self.weight is not None:
            gamma, beta = r * self.weight, d * self.weight
        if self.bias is not None:
            beta = beta + self.bias
        y, *_ = self.normalize_pieces(x, examples, gamma.flatten(), beta.flatten())
        self._replace_moving_statistics(*moving[-1])
        return y

    def normalize(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return x normalized; in training, corrected towards the moving statistics."""
        y = super().normalize(x, mean, var)
        if not self.training:
            return y
        assert self.running_mean is not None
        assert self.running_var is not None
        moving_mean, moving_var = (
            widen(moving).view(mean.shape) for moving in (self.running_mean, self.running_var)
        )
        with torch.no_grad():
            bounds = mean.new_tensor(self.bounds())
            r, d = self._corrections(mean, var, moving_mean, moving_var, bounds)
        return y * r + d

    def _corrections(
        self, mean: Tensor, var: Tensor, moving_mean: Tensor, moving_var: Tensor, bounds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return r and d. The first dimension of `bounds` is r_max and d_max; all broadcast."""
        r_max, d_max = bounds
        inverse_sigma = torch.rsqrt(moving_var + self.eps)
        r = (torch.sqrt(var + self.eps) * inverse_sigma).clamp(1 / r_max, r_max)
        d = ((mean - moving_mean) * inverse_sigma).clamp(-d_max, d_max)
        return r, d
