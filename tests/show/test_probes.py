"""What probes saw, from hand-made records: a table, and a panel for each quantity."""

import pytest
import torch
from rich.console import Console

from bnrun.config.schema import PROBES
from bnrun.events import Probed
from bnrun.networks.lenet import LeNet
from bnrun.norms import NORMS
from bnrun.show.pictures import probe_picture
from bnrun.show.probe_tables import probes_table
from bnrun.show.probe_words import QUANTITIES, probes_of
from bnrun.training.probes.probes import INSTRUMENTS
from bnrun.training.probes.sight import Sight

LOOKS = [
    Probed("shift", step, {"conv2": {"cosine": cosine, "relative": 1e-5 * step, "absolute": 1.0}})
    for step, cosine in ((0, 0.25), (20, 0.5), (40, 0.125))
]

TABLE = """\
probe  quantity  layer  first  median    last
─────────────────────────────────────────────
shift  cosine    conv2   0.25    0.25   0.125
shift  relative  conv2      0  0.0002  0.0004"""


def test_the_table_has_the_first_look_the_median_and_the_last() -> None:
    console = Console(width=80, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(probes_table(LOOKS))
    assert "\n".join(line.rstrip() for line in capture.get().splitlines()) == TABLE
    assert probes_of(LOOKS) == ["shift"]


def test_each_quantity_is_drawn_over_the_steps() -> None:
    figure = probe_picture(LOOKS, "shift", "a title", "a footer")
    cosine, relative = figure.axes
    assert cosine.lines[0].get_xydata().tolist() == [[0, 0.25], [20, 0.5], [40, 0.125]]
    assert relative.get_yscale() == "log"
    assert relative.lines[0].get_xydata().tolist() == [[20, 2e-4], [40, 4e-4]]  # 0 has no log
    assert cosine.texts[0].get_text() == "conv2"
    assert cosine.get_xlabel() == "step"


@pytest.mark.parametrize("probe", PROBES)
def test_what_is_shown_is_what_instruments_measure(probe: str) -> None:
    model = LeNet(NORMS["scratch"])
    sight = Sight(model, torch.rand(8, 1, 28, 28), torch.arange(8), lr=0.1)
    values = INSTRUMENTS[probe](model).look(sight)
    for layer in values.values():
        assert {quantity.name for quantity in QUANTITIES[probe]} <= set(layer)
