"""How values and names are written wherever they are shown, in tables, titles and sentences."""

from bnrun.events import DataUsed
from bnrun.training_summary import Summary


def training_title(summary: Summary) -> str:
    """Return the title of a training: network, norm, data and seed."""
    return run_title(summary.norm, summary.data, summary.seed)


def run_title(norm: str, data: DataUsed, seed: int) -> str:
    """Return the title of a training with this norm, data and seed."""
    return f"LeNet, norm {norm_name(norm)}, {data_name(data)}, one seed ({seed})"


def norm_name(norm: str) -> str:
    """Return a norm's name, without the folders of a user's own file."""
    return norm.rpartition("/")[2]


def data_name(data: DataUsed) -> str:
    """Return the data's name; only the published images are called Fashion-MNIST."""
    if data.name == "synthetic":
        return "synthetic data"
    return "Fashion-MNIST" if data.verified else "images that are not the published Fashion-MNIST"


def fraction(value: float | None) -> str:
    """Write a loss, or an accuracy between 0 and 1, with four decimals."""
    return "-" if value is None else f"{value:.4f}"


def rate(value: float | None) -> str:
    """Write a number of examples per second, rounded."""
    return "-" if value is None else f"{value:,.0f}"
