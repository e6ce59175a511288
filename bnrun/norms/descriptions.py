"""What each norm that has a name computes, over what it averages, and who says so."""

from dataclasses import dataclass

IOFFE = "Ioffe, Szegedy 2015"
BATCH = "batch, positions"
EXAMPLE = "channels, positions"


@dataclass(frozen=True)
class Description:
    """A norm in a line.

    Attributes:
        formula: of the output, with x̂ = (x - mean) / √(var + eps), and γ and β by channel.
        averages: what the mean and the variance are taken over, in each channel where channels
            are not named. Where it is the batch, predictions use moving averages.
        source: who says so.
    """

    formula: str
    averages: str
    source: str


DESCRIPTIONS: dict[str, Description] = {
    "scratch": Description("γ x̂ + β", BATCH, IOFFE),
    "builtin": Description("γ x̂ + β, by PyTorch", BATCH, "torch.nn.BatchNorm"),
    "textbook": Description("γ x̂ + β, as the textbook has it", BATCH, "Dive into Deep Learning"),
    "none": Description("x", "nothing", ""),
    "layer": Description("γ x̂ + β", EXAMPLE, "Ba et al. 2016"),
    "group": Description(
        "γ x̂ + β",
        "group of channels, positions",
        "Wu, He 2018",
    ),
    "instance": Description(
        "γ x̂ + β; x after linear layers",
        "positions",
        "Ulyanov et al. 2016",
    ),
    "rms": Description("γ x / √(mean(x²) + eps)", EXAMPLE, "Zhang, Sennrich 2019"),
    "mean-only": Description("γ (x - mean) + β", BATCH, "Salimans, Kingma 2016"),
    "variance-only": Description("γ x / √(var + eps) + β", BATCH, "Dive into Deep Learning"),
    "l1": Description("γ x̂ + β; var from |x - mean|", BATCH, "Hoffer et al. 2018"),
    "linf": Description("γ x̂ + β; var from max |x - mean|", BATCH, "Hoffer et al. 2018"),
    "renorm": Description("γ x̂ + β, near moving averages", BATCH, "Ioffe 2017"),
    "noisy": Description("γ x̂ + β, then noise", BATCH, "Santurkar et al. 2018"),
    "noise": Description("x with noise", "nothing", "Santurkar et al. 2018"),
    "dyt": Description("γ tanh(α x) + β", "nothing", "Zhu et al. 2025"),
}

CHANNEL_WEIGHTS = "weights of an output channel"

WEIGHTS: dict[str, Description] = {
    "standardized": Description("(v - mean) / √(var + eps)", CHANNEL_WEIGHTS, "Qiao et al. 2019"),
    "normalized": Description("g v / |v|", "nothing", "Salimans, Kingma 2016"),
}
"""What `model.weights` makes of the parameters v and g, in place of weights that are parameters."""
