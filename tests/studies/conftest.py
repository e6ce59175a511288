"""A made-up study of two claims, whose experiment takes no time."""

import pytest

from bnrun.events import Stage
from bnrun.show import pictures
from bnrun.studies import registry
from bnrun.studies.claim import Claim, Evidence, Part, Source
from bnrun.studies.rules import Direction, Exact
from bnrun.studies.study import Measured, Study

EVIDENCE = {
    "M1": Evidence({"forward": [3e-16], "backward": [0.25]}, "With momentum, it is off by 0.4."),
    "M2": Evidence({"accuracy": [0.04, 0.05, 0.06]}),
}


def _claim(id_, parts):
    source = Source("A paper", "section 2", "read")
    sentence = f"The claim {id_} holds."
    return Claim(id_, f"{id_.lower()}-name", sentence, (source,), "error", parts, "high", "LeNet")


CLAIMS = (
    _claim("M1", (Part("forward", Exact(), "supported"), Part("backward", Exact(), "supported"))),
    _claim("M2", (Part("accuracy", Direction(0.01), "supported"),)),
)


def measure(budget, ids, laboratory):
    """Yield the evidence above for the claims with these ids."""
    for done, id_ in enumerate(ids):
        yield Stage(id_, done, len(ids))
        yield Measured(id_, EVIDENCE[id_], 1.5)


@pytest.fixture
def made_up(monkeypatch):
    """The study, under the name `made-up`."""
    budgets = {"quick": 1, "standard": 3, "thorough": 9}
    study = Study("made-up", "Is it?", CLAIMS, budgets, 3.0, measure)
    monkeypatch.setitem(registry.STUDIES, "made-up", study)
    monkeypatch.setattr(pictures, "render", lambda figure: {"svg": b"", "png": b""})  # a second
    return study
