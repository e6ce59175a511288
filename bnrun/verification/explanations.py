"""What each check does, in words, the formula that it compares with, and what came of it.

The checks are defined in `topics/`, each with a few words; here is the paragraph. A test holds this
file to them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnrun.errors import ConfigError, did_you_mean
from bnrun.verification.check import Check
from bnrun.verification.fault import Family, Fault
from bnrun.verification.report import CheckResult, Example, Finding, Report
from bnrun.verification.situations import LAST_LAYOUTS, LAYOUTS

# ---- formulas

_CENTRED = "y = gamma * x_hat + beta, x_hat = (x - mean) / sqrt(var + eps)"
_OVER: Mapping[Family, str] = {
    "batch": "mean and var of each channel: over batch and positions, (0, 2, 3) of (N, C, H, W)",
    "layer": "mean and var of each example, or of each position: over the normalized dimensions",
    "group": "mean and var of each group of neighbouring channels, in each example",
    "instance": "mean and var of each channel in each example: over (2, 3) of (N, C, H, W)",
    "rms": "the mean of x² at each position: over the features",
}
_VAR = "var = sum((x - mean)²) / n: biased, not divided by n - 1"
_MOVED = (
    "moving_mean <- (1 - momentum) * moving_mean + momentum * mean",
    "moving_var <- (1 - momentum) * moving_var + momentum * var * n / (n - 1)",
    "momentum = 0.1; n values per channel",
)


def _output(family: Family, predicting: bool) -> tuple[str, ...]:
    if family == "rms":
        return ("y = gamma * x / sqrt(mean(x²) + eps)", _OVER[family])
    if family == "batch" and predicting:
        return ("y = gamma * (x - moving_mean) / sqrt(moving_var + eps) + beta",)
    return (_CENTRED, _OVER[family], _VAR)


def _gradients(family: Family, predicting: bool) -> tuple[str, ...]:
    learned = ("d_gamma = sum(g * x_hat)", *(() if family == "rms" else ("d_beta = sum(g)",)))
    if family == "rms":
        return (
            "d_x = (h - x_hat * mean(h * x_hat)) / sqrt(mean(x²) + eps), h = gamma * g",
            *learned,
        )
    if family == "batch" and predicting:
        return ("d_x = gamma * g / sqrt(moving_var + eps)", *learned)
    terms = "d_x = (h - mean(h) - x_hat * mean(h * x_hat)) / sqrt(var + eps), h = gamma * g"
    return (terms, *learned)


_DIFFERENCES = ("d_x = (f(x + h) - f(x - h)) / (2 * h), f = sum(g * y)",)
_FORMULAS: Mapping[str, tuple[str, bool]] = {
    "forward in training": ("output", False),
    "forward when predicting": ("output", True),
    "variance far below eps": ("output", False),
    "large mean, small spread": ("output", False),
    "channels of one value": ("output", False),
    "tiny and odd shapes": ("output", False),
    "gradients in training": ("gradients", False),
    "gradients when predicting": ("gradients", True),
    "finite differences in training": ("differences", False),
    "finite differences when predicting": ("differences", True),
    "first update": ("moved", False),
    "updates in order": ("moved", False),
}
"""By check: its formula, and whether it is for predicting."""


def formula_of(check: str, family: Family) -> tuple[str, ...]:
    """Return the formula that a check, by its name without a layout, compares with, in lines."""
    kind, predicting = _FORMULAS.get(check, ("", False))
    match kind:
        case "output":
            return _output(family, predicting)
        case "gradients":
            return _gradients(family, predicting)
        case "differences":
            return _DIFFERENCES
        case "moved":
            return _MOVED
    return ()


# ---- what the checks do

_STATE = "A new layer gets random parameters and statistics, and a random batch"
DOES: Mapping[str, str] = {
    "forward in training": f"{_STATE} in training. Its output is compared with the formula's.",
    "forward when predicting": f"{_STATE} after eval(). Its output is compared with the formula's.",
    "variance far below eps": "The same with inputs and moving variances near 1e-6, where eps "
    "decides: one of another size, or in another place, shows.",
    "bfloat16 input": "The output for an input of bfloat16 is compared with the formula's, rounded "
    "once at the end, and rounded before gamma scales it: that shows in which dtype it is "
    "computed.",
    "one example alone": "The first example of a batch is run alone, too: its output must be the "
    "same.",
    "one position alone": "The first position of a sequence is run alone, too: its output must be "
    "the same, whatever stands elsewhere.",
    "one value by itself": "Each value has statistics of its own, so that its variance is 0: the "
    "output is finite, or a clear error.",
    "no moving statistics": "A new layer is searched for moving statistics, which its family does "
    "not have.",
    "large mean, small spread": "The inputs have a mean of 1e6 (1e3 in float32) and a spread near "
    "1. A variance computed as E[x²] - E[x]² loses its digits there.",
    "channels of one value": "Every variance is 0. The output is beta, and the gradient is finite "
    "only with eps inside the root.",
    "tiny and odd shapes": "New layers get batches of 1, 2, 3 and 7 examples, single channels, "
    "single positions, and as many columns as channels: shapes that an accidental broadcast or a "
    "wrong count does not survive.",
    "gradients in training": f"{_STATE} in training, and y a random gradient g. The gradients of "
    "x, gamma and beta are compared with the formula's.",
    "gradients when predicting": f"{_STATE} after eval(), and y a random gradient g. The gradients "
    "of x, gamma and beta are compared with the formula's.",
    "finite differences in training": "torch's gradcheck moves x, gamma and beta a little in "
    "either direction, and compares how the output moves with the gradients. It says whether the "
    "gradients belong to the output, right or wrong as that may be.",
    "finite differences when predicting": "The same after eval().",
    "second derivatives": "The gradients are differentiated once more, along a random direction, "
    "and compared with how they move when the inputs move a little. A gradient penalty needs this.",
    "gradient handed in": "The gradient of y is handed in as it is, 100.3 times as large, and "
    "transposed in memory. The gradient of x must be the same, as much larger, and the same; and "
    "what was handed in must be unchanged.",
    "non-contiguous input": "The same values as a slice, and as a transpose, of another tensor: "
    "the output must be that of a contiguous copy.",
    "channels_last input": "The same images in channels_last: the output must be that of a "
    "contiguous copy.",
    "float64 kept": "Inputs and parameters in float64 must give an output in float64, with its "
    "precision: nothing on the way is computed in float32.",
    "many values in half precision": "In float16 or bfloat16 alone: a batch of 100,000 values per "
    "channel in training. Their sum is larger than float16's largest number.",
    "input left unchanged": "The input is compared with a copy of it after the forward pass.",
    "same output twice": "Two new layers with the same state get the same input.",
    "starting values": "A new layer is read out: gamma is 1, beta 0, the moving mean 0 and the "
    "moving variance 1.",
    "first update": f"{_STATE} in training. The moving statistics are compared with the formula's.",
    "updates in order": "The same over 12 batches, after each of them: averages that start "
    "differently, or weigh batches unequally, show.",
    "left alone when predicting": "The moving statistics are compared before and after a batch "
    "that the layer predicts.",
    "no graph kept": "Two batches go forward and backward. Afterwards no attribute may hold a "
    "tensor with a grad_fn, and the second backward pass must not reach into the first.",
    "memory over many steps": "After 40 batches in training, no tensor of theirs may be alive.",
    "many batches": "A layer trains 40 times on one batch, and predicts it. Each output must be "
    "the first one, each update of the moving statistics as the first 12 were, the prediction one "
    "by the moving statistics as they are then; and gamma and beta stay as they are.",
    "mode": "One value of the input stays, and all others change, after train() and after eval(), "
    "with gradients enabled and disabled. Where the output of that value changes, the batch's "
    "statistics are in use.",
    "trains again": "One layer trains, predicts, trains on a smaller batch and predicts. Each time "
    "its output is compared with that of a layer that did nothing in between.",
    "gradients on and off": "A batch in training under no_grad(), and a prediction with gradients "
    "enabled: output and moving statistics must be the usual ones.",
    "parameters": "gamma and beta must be parameters of one value per channel, which an optimizer "
    "changes, and the moving statistics must not be.",
    "state_dict": "A trained layer's state_dict is saved, and loaded into a new layer, which must "
    "then predict the same.",
    "after loading": "A layer trains on three batches, and its state is loaded into another one "
    "that has predicted before. Both must predict the same, and train on alike.",
    "deepcopy": "copy.deepcopy of a trained layer must predict the same, and training the copy "
    "must not change the original.",
    "pickle": "A layer that was pickled and loaded must predict the same, and share nothing.",
    ".double()": "A layer is built in float32, and .double() is called: gamma, beta and the moving "
    "statistics must be in float64 then, and the output the same.",
    "torch left alone": "Gradient mode, default dtype and random state of torch are compared "
    "before and after a forward pass.",
    "eps=": "A layer is built with eps=0.5, and its output compared with the formula's.",
    "momentum=": "A layer is built with momentum=0.3, and trained on two batches.",
    "momentum=None": "A layer is built with momentum=None: its moving statistics must be the plain "
    "average over all batches.",
    "affine=False": "A layer is built with affine=False: it must learn nothing, and return x_hat.",
    "normalized_shape=": "A layer is built for a shape of two dimensions, (3, 5): its statistics "
    "are taken over both, and gamma and beta have that shape.",
    "track_running_stats=False": "A layer is built with track_running_stats=False: it must predict "
    "with the statistics of the batch.",
    "one value per channel": "One value per channel has no variance, so PyTorch refuses it in "
    "training. A moving variance corrected by n / (n - 1) divides by 0.",
    "wrong channel count": "Inputs with fewer and with more channels than the layer was built for "
    "must be refused.",
}


# ---- an explanation


@dataclass(frozen=True)
class Explanation:
    """A check explained: in words, by its formula, and by what came of it for a class.

    Attributes:
        name: of the check, without a layout.
        group, about: see Check.
        does, formula: what it does, and what it compares with, in lines.
        results: how it came out, for each layout and engine; none without a class.
        findings: the faults and dialects that it shows.
        example: the smallest input that shows how it came out, if one can.
    """

    name: str
    group: str
    about: str
    does: str
    formula: tuple[str, ...]
    results: tuple[CheckResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    example: Example | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation for JSON."""
        return {
            "check": self.name,
            "group": self.group,
            "about": self.about,
            "does": self.does,
            "formula": list(self.formula),
            "results": [result.to_dict() for result in self.results],
            "faults": [finding.to_dict() for finding in self.findings],
            "smallest_input": None if self.example is None else self.example.to_dict(),
        }


def slug(check: str) -> str:
    """Return the name of a check as it is typed: `first-update`, `momentum-none`."""
    return re.sub(r"[^a-z0-9]+", "-", check.lower()).strip("-")


def find_check(name: str, checks: Sequence[Check]) -> Check:
    """Return the first check of a name, with a layout or for all of them.

    Raises:
        ConfigError: there is none.
    """
    typed = slug(name)
    for one in checks:
        if typed in (
            slug(one.base),
            *(slug(one.name_in(each)) for each in (LAYOUTS, LAST_LAYOUTS)),
        ):
            return one
    known = dict.fromkeys(slug(one.base) for one in checks)
    near = did_you_mean(typed, known)
    raise ConfigError(
        f"there is no check '{name}'.{near} `bnrun verify --list` lists them.", "--explain"
    )


def explain(
    name: str, checks: Sequence[Check], family: Family, report: Report | None = None
) -> Explanation:
    """Explain a check, for all layouts or the one that is named, by what a report says of it.

    Raises:
        ConfigError: there is no such check, or not in the family of the report.
    """
    check, typed = find_check(name, checks), slug(name)
    results = tuple(
        one
        for one in (report.checks if report else ())
        if typed in (slug(one.base), slug(one.name))
    )
    if report and not results:
        raise ConfigError(f"'{name}' is no check of the family {family}.", "--explain")
    evidence: dict[Fault, str] = {}
    for result in results:
        for fault, seen in zip(result.faults, result.seen, strict=True):
            evidence[fault] = evidence.get(fault) or seen
    examples = [result.example for result in results if result.example is not None]
    return Explanation(
        check.base,
        check.group_in(family),
        check.about,
        DOES.get(check.base, f"{check.about[0].upper()}{check.about[1:]}."),
        formula_of(check.base, family),
        results,
        tuple(
            dataclasses.replace(one, seen=evidence[one.fault], seen_in="")
            for one in (report.findings if report else ())
            if one.fault in evidence
        ),
        next((one for one in examples if one.differs), next(iter(examples), None)),
    )
