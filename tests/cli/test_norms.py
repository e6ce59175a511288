"""`bnrun norms`: the list of norms, with their options."""

import json

from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.norms import NORMS
from bnrun.norms.weights import WEIGHTS


def _stdout(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["norms", *arguments], env={"COLUMNS": "100"})
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def test_every_norm_has_a_line() -> None:
    lines = [line.split() for line in _stdout().splitlines()]
    assert [line[0] for line in lines if line and line[0] in NORMS] == list(NORMS)
    group = next(line for line in lines if line[:1] == ["group"])
    assert " ".join(group) == "group γ x̂ + β group of channels, positions Wu, He 2018"


def test_the_document_has_the_options_with_their_defaults() -> None:
    documents = {one["name"]: one for one in json.loads(_stdout("--json"))["norms"]}
    assert documents["group"]["options"] == {"groups": 2, "eps": 1e-5, "affine": True}
    assert documents["none"] == {
        "name": "none",
        "formula": "x",
        "averages": "nothing",
        "source": "",
        "options": {},
    }


def test_normalized_weights_stand_below() -> None:
    lines = [" ".join(line.split()) for line in _stdout().splitlines()]
    below = lines[lines.index("model.weights formula averages over source") + 2 :]
    assert below[1] == "normalized g v / |v| nothing Salimans, Kingma 2016"
    names = [one["name"] for one in json.loads(_stdout("--json"))["weights"]]
    assert names == ["standardized", "normalized"] == [*WEIGHTS]
