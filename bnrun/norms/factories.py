"""What builds each norm that has a name.

A factory's signature has the norm's options, with the defaults of its layer, so options are checked
without torch. Each imports its layer when it is called.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def _scratch(
    num_features: int,
    num_dims: int,
    *,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
    track_running_stats: bool = True,
    bias: bool = True,
) -> "nn.Module":
    from bnrun.norms.batch_norm import BatchNorm

    return BatchNorm(num_features, eps, momentum, affine, track_running_stats, bias=bias)


def _builtin(
    num_features: int,
    num_dims: int,
    *,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
    track_running_stats: bool = True,
    bias: bool = True,
) -> "nn.Module":
    from torch import nn

    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    without: dict[str, Any] = {} if bias else {"bias": False}  # which older torch does not take
    return kinds[num_dims](num_features, eps, momentum, affine, track_running_stats, **without)


def _textbook(num_features: int, num_dims: int) -> "nn.Module":
    from bnrun.norms.textbook import TextbookBatchNorm

    return TextbookBatchNorm(num_features, num_dims)


def _none(num_features: int, num_dims: int) -> "nn.Module":
    from torch import nn

    return nn.Identity()


def _layer(
    num_features: int, num_dims: int, *, eps: float = 1e-5, affine: bool = True
) -> "nn.Module":
    from bnrun.norms.grouped import GroupNorm

    return GroupNorm(num_features, 1, eps, affine)


def _group(
    num_features: int, num_dims: int, *, groups: int = 2, eps: float = 1e-5, affine: bool = True
) -> "nn.Module":
    from bnrun.norms.grouped import GroupNorm

    return GroupNorm(num_features, groups, eps, affine)


def _instance(
    num_features: int, num_dims: int, *, eps: float = 1e-5, affine: bool = True
) -> "nn.Module":
    from torch import nn

    from bnrun.norms.grouped import GroupNorm

    if num_dims == 2:
        return nn.Identity()  # a single value is its own mean: the output would be 0
    return GroupNorm(num_features, num_features, eps, affine)


def _rms(
    num_features: int, num_dims: int, *, eps: float = 1e-5, affine: bool = True
) -> "nn.Module":
    from bnrun.norms.grouped import RMSNorm

    return RMSNorm(num_features, eps, affine)


def _mean_only(
    num_features: int, num_dims: int, *, momentum: float | None = 0.1, affine: bool = True
) -> "nn.Module":
    from bnrun.norms.batch_variants import MeanOnlyBatchNorm

    return MeanOnlyBatchNorm(num_features, momentum=momentum, affine=affine)


def _variant(name: str) -> Callable[..., "nn.Module"]:
    """Return the factory of a class of `batch_variants` with the options of `scratch`'s formula."""

    def build(
        num_features: int,
        num_dims: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> "nn.Module":
        from bnrun.norms import batch_variants

        layer: nn.Module = getattr(batch_variants, name)(num_features, eps, momentum, affine)
        return layer

    return build


def _renorm(
    num_features: int,
    num_dims: int,
    *,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
    r_max: float = 3.0,
    d_max: float = 5.0,
    warmup: int = 235,
) -> "nn.Module":
    from bnrun.norms.batch_variants import BatchRenorm

    return BatchRenorm(num_features, eps, momentum, affine, r_max, d_max, warmup)


def _noisy(
    num_features: int,
    num_dims: int,
    *,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    n_mu: float = 0.5,
    n_sigma: float = 1.25,
    r_mu: float = 0.1,
    r_sigma: float = 0.1,
) -> "nn.Module":
    from bnrun.norms.noise import NoisyBatchNorm

    return NoisyBatchNorm(num_features, eps, momentum, n_mu, n_sigma, r_mu, r_sigma)


def _noise(
    num_features: int,
    num_dims: int,
    *,
    n_mu: float = 0.5,
    n_sigma: float = 1.25,
    r_mu: float = 0.1,
    r_sigma: float = 0.1,
) -> "nn.Module":
    from bnrun.norms.noise import ShiftingNoise

    return ShiftingNoise(num_features, n_mu, n_sigma, r_mu, r_sigma)


def _dyt(
    num_features: int, num_dims: int, *, alpha: float = 0.5, affine: bool = True
) -> "nn.Module":
    from bnrun.norms.dynamic_tanh import DynamicTanh

    return DynamicTanh(num_features, alpha, affine)


NORMS: dict[str, Callable[..., "nn.Module"]] = {
    "scratch": _scratch,
    "builtin": _builtin,
    "textbook": _textbook,
    "none": _none,
    "layer": _layer,
    "group": _group,
    "instance": _instance,
    "rms": _rms,
    "mean-only": _mean_only,
    "variance-only": _variant("VarianceOnlyBatchNorm"),
    "l1": _variant("L1BatchNorm"),
    "linf": _variant("LInfBatchNorm"),
    "renorm": _renorm,
    "noisy": _noisy,
    "noise": _noise,
    "dyt": _dyt,
}
