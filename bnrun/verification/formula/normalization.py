"""What is done with the statistics.

    y = gamma * x_hat + beta,  x_hat = (x - mean) / sqrt(var + eps)

(Ioffe & Szegedy 2015, Algorithm 1.)
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.fault import Choice, Fault, choices, wrong

Prepare = Callable[[Tensor, Tensor, Tensor], Tensor]  # from x, gamma and beta
Centring = Callable[[Tensor, Tensor], Tensor]  # from x and mean
Denominator = Callable[[Tensor, float], Tensor]  # from var and eps
Affine = Callable[[Tensor, Tensor, Tensor], Tensor]  # from x_hat, gamma and beta

# fmt: off
PREPARE: tuple[Choice[Prepare], ...] = (Choice(lambda x, gamma, beta: x),)
CENTRING: tuple[Choice[Centring], ...] = choices(
    lambda x, mean: x - mean,
    wrong("mean-not-subtracted", lambda x, mean: x,
          "The mean is never subtracted: x is only divided."),
    wrong("mean-added", lambda x, mean: x + mean, "The mean is added; it should be subtracted."),
    wrong("mean-subtracted-twice", lambda x, mean: x - 2 * mean,
          "The mean is subtracted twice.", "Subtract it once: x - mean."),
    fix="Normalize x - mean.",
)

NO_EPS: Choice[Denominator] = wrong(
    "eps-missing", lambda var, eps: var.sqrt(),
    "eps is missing: it divides by sqrt(var), and so by 0 where all values are equal.",
    "Divide by sqrt(var + eps).")
OUTSIDE: Choice[Denominator] = wrong(
    "eps-outside-root", lambda var, eps: var.sqrt() + eps,
    "eps is added outside the root: it divides by sqrt(var) + eps.",
    "Divide by sqrt(var + eps): then the gradient stays finite where var is 0, too.")
DENOMINATOR: tuple[Choice[Denominator], ...] = choices(
    lambda var, eps: (var + eps).sqrt(),
    OUTSIDE,
    NO_EPS,
    wrong("eps-squared", lambda var, eps: (var + eps**2).sqrt(),
          "eps is squared: it divides by sqrt(var + eps²)."),
    wrong("root-missing", lambda var, eps: var + eps,
          "The root is missing: it divides by var + eps."),
    wrong("eps-as-floor", lambda var, eps: var.clamp(min=eps).sqrt(),
          "eps is a lower bound of the variance, not added: it divides by sqrt(max(var, eps))."),
    wrong("multiplies-by-root", lambda var, eps: 1 / (var + eps).sqrt(),
          "It multiplies by sqrt(var + eps); it should divide.",
          "Divide by sqrt(var + eps), or multiply by torch.rsqrt(var + eps)."),
    wrong("not-divided", lambda var, eps: torch.ones_like(var),
          "The mean is subtracted, but nothing is divided by the standard deviation."),
    fix="Divide by sqrt(var + eps).",
)

OTHER_EPS = Fault(
    "eps-value", "eps has another value than PyTorch's 1e-05.",
    "Use 1e-5 if predictions should equal those of PyTorch's layer.",
    "many: eps is a free choice")
LARGE_EPS = Fault(
    "eps-too-large", "eps is so large that it dominates the variance; PyTorch's is 1e-05.",
    "Use 1e-5.")
# fmt: on
FEWEST_CLIPPED = 3
"""Values of one size, the largest, that show that an output is clipped."""
LARGEST_EPS = 1e-2  # the largest value that counts as a choice
KERAS_EPS = 1e-3
USUAL_EPS = 1e-5


def eps_of(value: float, usual: float = USUAL_EPS, speakers: str = "") -> Choice[float]:
    """Return another eps than PyTorch's usual one, as a choice, with who else uses it."""
    if value > LARGEST_EPS:
        sentence = (
            f"eps is {value:g}, so large that it dominates the variance; PyTorch's is {usual:.2g}."
        )
        return Choice(value, dataclasses.replace(LARGE_EPS, sentence=sentence))
    fault = dataclasses.replace(
        OTHER_EPS,
        sentence=f"eps is {value:g}; PyTorch's is {usual:.2g}.",
        fix=f"Use {usual:.2g} if predictions should equal those of PyTorch's layer.",
        speakers=speakers or OTHER_EPS.speakers,
    )
    return Choice(value, fault)


EPS = (
    Choice(USUAL_EPS),
    eps_of(KERAS_EPS, speakers="Keras"),
    *map(eps_of, (1e-6, 1e-8, 1e-12, 1e-7, 1e-4, 1e-2)),
)


@dataclass(frozen=True)
class AbsoluteGamma:
    """Scales by |gamma| + eps, as in-place activated batch normalization does."""

    eps: float

    def __call__(self, x_hat: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """Return the output."""
        return (gamma.abs() + self.eps) * x_hat + beta


# fmt: off
_ABSOLUTE = Fault(
    "gamma-absolute",
    "It scales by the absolute value of gamma: a negative gamma does not turn the sign.",
    "Return gamma * x_hat + beta.")
GAMMA_PLUS_ONE: Choice[Affine] = wrong(
    "gamma-plus-one", lambda x_hat, gamma, beta: (1 + gamma) * x_hat + beta,
    "It scales by 1 + gamma, not by gamma.",
    "Return gamma * x_hat + beta, and start gamma at 1.")
AFFINE: tuple[Choice[Affine], ...] = choices(
    lambda x_hat, gamma, beta: gamma * x_hat + beta,
    wrong("gamma-unused", lambda x_hat, gamma, beta: x_hat + beta, "gamma is not used."),
    wrong("beta-unused", lambda x_hat, gamma, beta: gamma * x_hat, "beta is not used."),
    wrong("affine-unused", lambda x_hat, gamma, beta: x_hat,
          "Neither gamma nor beta is used: it returns the normalized input."),
    wrong("beta-scaled", lambda x_hat, gamma, beta: gamma * (x_hat + beta),
          "beta is added before gamma scales: gamma * (x_hat + beta).",
          "Scale first: gamma * x_hat + beta."),
    wrong("gamma-beta-swapped", lambda x_hat, gamma, beta: beta * x_hat + gamma,
          "gamma and beta are swapped: beta scales, and gamma shifts.",
          "Return gamma * x_hat + beta; or name the parameters the other way round."),
    wrong("beta-subtracted", lambda x_hat, gamma, beta: gamma * x_hat - beta,
          "beta is subtracted.", "Add it: gamma * x_hat + beta."),
    wrong("divides-by-gamma", lambda x_hat, gamma, beta: x_hat / gamma + beta,
          "It divides by gamma.", "Multiply: gamma * x_hat + beta."),
    GAMMA_PLUS_ONE,
    wrong("gamma-exponentiated", lambda x_hat, gamma, beta: gamma.exp() * x_hat + beta,
          "It scales by exp(gamma), not by gamma.",
          "Return gamma * x_hat + beta, and start gamma at 1."),
    *(Choice[Affine](AbsoluteGamma(eps), _ABSOLUTE, rare=True) for eps in (0.0, EPS[0].value)),
    wrong("affine-twice", lambda x_hat, gamma, beta: gamma * (gamma * x_hat + beta) + beta,
          "gamma and beta are applied twice.", "Apply them once: gamma * x_hat + beta."),
    fix="Return gamma * x_hat + beta.",
)

CLIPS = Fault(
    "output-clipped", "The output is clipped.",
    "Return gamma * x_hat + beta without clamp().")
# fmt: on


def clipped(gamma: Tensor, beta: Tensor, y: Tensor) -> tuple[Choice[Affine], ...]:
    """Return ways to clip, before or after gamma and beta, at what an output y is limited to."""
    before, after = _limit((y - beta) / gamma), _limit(y)

    def clip_before(x_hat: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return gamma * x_hat.clamp(-before, before) + beta

    def clip_after(x_hat: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return (gamma * x_hat + beta).clamp(-after, after)

    return tuple(
        Choice(clip, dataclasses.replace(CLIPS, sentence=f"{what} clipped at ±{limit:.4g}."), True)
        for what, limit, clip in (
            ("The normalized input is", before, clip_before),
            ("The output is", after, clip_after),
        )
        if limit > 0
    )


def _limit(values: Tensor) -> float:
    """Return the largest absolute value, if several have it to rounding; else 0."""
    sizes = values.abs().flatten()
    largest = float(sizes.max())
    if int((sizes > largest * (1 - 1e-9)).sum()) < FEWEST_CLIPPED:
        return 0.0
    return float(f"{largest:.6g}") if abs(float(f"{largest:.6g}") / largest - 1) < 1e-9 else largest
