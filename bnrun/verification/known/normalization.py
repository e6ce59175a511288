"""What is done with the statistics, part by part: right, then as people get it wrong.

    y = gamma * (x - mean) / sqrt(var + eps) + beta

(Ioffe & Szegedy 2015, Algorithm 1.) The first of each list is right.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from bnrun.verification.known.fault import Choice, Fault

# ---- what is subtracted, and what it is divided by

CENTRING: tuple[Choice[Callable[[Tensor, Tensor], Tensor]], ...] = (
    Choice(lambda x, mean: x - mean),
    Choice(
        lambda x, mean: x,
        Fault(
            "mean-not-subtracted",
            "The mean is never subtracted: x is only divided.",
            "Normalize x - mean.",
        ),
    ),
    Choice(
        lambda x, mean: x + mean,
        Fault("mean-added", "The mean is added where it is to be subtracted.", "Use x - mean."),
    ),
)

DENOMINATOR: tuple[Choice[Callable[[Tensor, float], Tensor]], ...] = (
    Choice(lambda var, eps: (var + eps).sqrt()),
    Choice(
        lambda var, eps: var.sqrt() + eps,
        Fault(
            "eps-outside-root",
            "eps is added outside the root: it divides by sqrt(var) + eps.",
            "Divide by sqrt(var + eps): then the gradient stays finite where var is 0, too.",
        ),
    ),
    Choice(
        lambda var, eps: var.sqrt(),
        Fault(
            "eps-missing",
            "eps is missing: it divides by sqrt(var), and so by 0 for a channel of equal values.",
            "Divide by sqrt(var + eps).",
        ),
    ),
    Choice(
        lambda var, eps: (var + eps**2).sqrt(),
        Fault(
            "eps-squared",
            "eps is squared: it divides by sqrt(var + eps²).",
            "Divide by sqrt(var + eps).",
        ),
    ),
    Choice(
        lambda var, eps: var + eps,
        Fault(
            "root-missing",
            "The root is missing: it divides by var + eps.",
            "Divide by sqrt(var + eps).",
        ),
    ),
    Choice(
        lambda var, eps: var.clamp(min=eps).sqrt(),
        Fault(
            "eps-as-floor",
            "eps is a floor under the variance, not added to it: it divides by "
            "sqrt(max(var, eps)).",
            "Divide by sqrt(var + eps).",
        ),
    ),
    Choice(
        lambda var, eps: 1 / (var + eps).sqrt(),
        Fault(
            "multiplies-by-root",
            "It multiplies by sqrt(var + eps) where it is to divide.",
            "Divide by sqrt(var + eps), or multiply by torch.rsqrt(var + eps).",
        ),
    ),
    Choice(
        lambda var, eps: torch.ones_like(var),
        Fault(
            "not-divided",
            "The mean is subtracted, but nothing is divided by the standard deviation.",
            "Divide by sqrt(var + eps).",
        ),
    ),
)


OTHER_EPS = Fault(
    "eps-value",
    "eps has another value than PyTorch's 1e-05.",
    "Use 1e-5 where predictions are to equal those of PyTorch's layer.",
    "many: eps is a free choice",
)
LARGE_EPS = Fault(
    "eps-too-large",
    "eps is so large that it drowns the variance; PyTorch's is 1e-05.",
    "Use 1e-5.",
)
LARGEST_EPS = 1e-2  # that is a choice


def eps_of(value: float) -> Choice[float]:
    """Return another eps than PyTorch's 1e-5, as a choice."""
    says = f"eps is {value:g}; PyTorch's is 1e-05."
    if value > LARGEST_EPS:
        says = f"eps is {value:g}, so large that it drowns the variance; PyTorch's is 1e-05."
        return Choice(value, dataclasses.replace(LARGE_EPS, says=says))
    keras = value == 1e-3
    speakers = "Keras" if keras else OTHER_EPS.speakers
    return Choice(value, dataclasses.replace(OTHER_EPS, says=says, speakers=speakers))


EPS: tuple[Choice[float], ...] = (
    Choice(1e-5),
    *map(eps_of, (1e-3, 1e-6, 1e-8, 1e-12, 1e-7, 1e-4, 1e-2)),
)

# ---- scale and shift

AFFINE: tuple[Choice[Callable[[Tensor, Tensor, Tensor], Tensor]], ...] = (
    Choice(lambda x_hat, gamma, beta: gamma * x_hat + beta),
    Choice(
        lambda x_hat, gamma, beta: x_hat + beta,
        Fault("gamma-unused", "gamma is not used.", "Return gamma * x_hat + beta."),
    ),
    Choice(
        lambda x_hat, gamma, beta: gamma * x_hat,
        Fault("beta-unused", "beta is not used.", "Return gamma * x_hat + beta."),
    ),
    Choice(
        lambda x_hat, gamma, beta: x_hat,
        Fault(
            "affine-unused",
            "Neither gamma nor beta is used: the normalized input is returned as it is.",
            "Return gamma * x_hat + beta.",
        ),
    ),
    Choice(
        lambda x_hat, gamma, beta: gamma * (x_hat + beta),
        Fault(
            "beta-scaled",
            "beta is added before gamma scales: gamma * (x_hat + beta).",
            "Scale first: gamma * x_hat + beta.",
        ),
    ),
    Choice(
        lambda x_hat, gamma, beta: beta * x_hat + gamma,
        Fault(
            "gamma-beta-swapped",
            "gamma and beta have changed places: beta scales, and gamma shifts.",
            "Return gamma * x_hat + beta; or name the parameters the other way round.",
        ),
    ),
    Choice(
        lambda x_hat, gamma, beta: gamma * x_hat - beta,
        Fault("beta-subtracted", "beta is subtracted.", "Add it: gamma * x_hat + beta."),
    ),
    Choice(
        lambda x_hat, gamma, beta: x_hat / gamma + beta,
        Fault("divides-by-gamma", "It divides by gamma.", "Multiply: gamma * x_hat + beta."),
    ),
    Choice(
        lambda x_hat, gamma, beta: (1 + gamma) * x_hat + beta,
        Fault(
            "gamma-plus-one",
            "It scales by 1 + gamma, not by gamma.",
            "Return gamma * x_hat + beta, and start gamma at 1.",
        ),
    ),
    Choice(
        lambda x_hat, gamma, beta: gamma.exp() * x_hat + beta,
        Fault(
            "gamma-exponentiated",
            "It scales by exp(gamma), not by gamma.",
            "Return gamma * x_hat + beta, and start gamma at 1.",
        ),
    ),
    Choice(
        lambda x_hat, gamma, beta: gamma * (gamma * x_hat + beta) + beta,
        Fault(
            "affine-twice",
            "gamma and beta are applied twice.",
            "Apply them once: gamma * x_hat + beta.",
        ),
    ),
)
