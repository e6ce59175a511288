"""A file over the defaults, overrides over the file, and where each value came from."""

from pathlib import Path

import pytest

from bnrun.config import KEYS, Assignment, Config, parse_override, resolve
from bnrun.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_defaults_equal_the_main_config() -> None:
    assert resolve(CONFIGS / "lenet_bn.yaml").config == Config()
    assert resolve(None).name == "lenet_bn"


def test_the_main_config_has_every_key() -> None:
    assert set(resolve(CONFIGS / "lenet_bn.yaml").sources.values()).isdisjoint({"default"})


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("lenet_builtin", {"model.norm": "builtin"}),
        ("lenet_nobn", {"model.norm": "none"}),
        ("lenet_maxpool", {"model.pool": "max"}),
    ],
)
def test_each_other_config_differs_where_its_name_says(name: str, differs: dict[str, str]) -> None:
    defaults = {key: value for key, value, _ in resolve(None).rows()}
    rows = {key: value for key, value, _ in resolve(CONFIGS / f"{name}.yaml").rows()}
    assert {key: rows[key] for key in KEYS if rows[key] != defaults[key]} == differs


def test_every_config_says_in_its_header_how_to_run_it() -> None:
    for path in CONFIGS.glob("*.yaml"):
        assert f"#   bnrun train configs/{path.name}\n" in path.read_text()


def test_the_last_value_wins_and_its_source_is_known(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optimizer:\n  lr: 1e-3\n  momentum: 0.5\n")
    overrides = [*parse_override("optimizer.momentum=0.9"), Assignment("model.norm", "none", "-n")]
    resolved = resolve(path, overrides)
    assert resolved.name == "mine"
    assert resolved.config.optimizer.lr == 0.001
    assert resolved.config.optimizer.momentum == 0.9
    assert resolved.sources["optimizer.lr"] == f"{path}:2"
    assert resolved.sources["optimizer.momentum"] == "--set"
    assert resolved.sources["model.norm"] == "-n"
    assert resolved.sources["training.epochs"] == "default"


def test_a_resolved_config_reads_back_equal(tmp_path: Path) -> None:
    overrides = [
        Assignment("optimizer.lr", 1e-5, ""),
        Assignment("model.norm", "no", ""),
        Assignment("data.root", "1e3", ""),
    ]
    config = resolve(None, overrides).config
    path = tmp_path / "config.yaml"
    path.write_text(config.yaml())
    assert resolve(path).config == config


def test_an_empty_section_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("optimizer:\n  # lr: 0.1\nmodel: {norm: none}\n")
    assert resolve(path).config.optimizer == Config().optimizer


def test_a_section_can_be_set_whole() -> None:
    config = resolve(None, parse_override("optimizer={momentum: 0.9, nesterov: true}")).config
    assert (config.optimizer.momentum, config.optimizer.nesterov) == (0.9, True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", r"no key 'optimizer.lrr'. Did you mean 'lr'\?"),
        ("optimiser.lr=1", r"Did you mean 'optimizer.lr'\?"),
        ("lr=1", r"Did you mean 'optimizer.lr'\?"),
        ("zzz=1", "The sections: model, data, optimizer, training"),
        ("model.pool=maxx", r"received 'maxx'; it must be 'avg' or 'max'. Did you mean 'max'\?"),
        ("optimizer.lr=fast", "received 'fast'; it must be a number"),
        ("optimizer.lr='0.1'", "received '0.1'; it must be a number"),
        ("optimizer.lr=0", "received 0; it must be a number, above 0"),
        ("optimizer.lr=.nan", "received nan; it must be a finite number"),
        ("optimizer.lr=", "received None; it must be a number"),
        ("optimizer.momentum=1", "0 or more and below 1"),
        ("optimizer.nesterov=true", "it must come with optimizer.momentum above 0"),
        ("training.epochs=1.5", "it must be a whole number"),
        ("training.epochs=true", "it must be a whole number"),
        ("training.deterministic=yes", "received 'yes'; it must be true or false"),
        ("training.device=gpu", "it must be one of auto, cpu, cuda, cuda:N, mps"),
        ("training.seed=-1", "it must be a whole number, 0 or more and below 4294967296"),
        ("training.evaluate=moving", r"it must be a list, such as \[moving\]"),
        ("training.evaluate=[]", "it must be a list with at least one entry"),
        (
            "training.evaluate=[populatoin]",
            "received 'populatoin'; it must be 'moving', 'population' or 'batch'. "
            "Did you mean 'population'?",
        ),
        ("model.norm_places=[1, 5]", "received 5; it must be 1, 2, 3 or 4"),
        ("model.norm_places=2", r"it must be a list, such as \[1, 2, 3, 4\]"),
        ("model.dropout=1", "received 1; it must be a number, 0 or more and below 1"),
        ("data.images=0", "received 0; it must be a whole number, 1 or more, or null"),
        ("model.norm=[1]", r"received \[1\]; it must be text"),
        ("model.norm=''", "it must not be empty"),
        ("model=scratch", "this is a section with the keys norm, norm_options, pool, activation"),
    ],
)
def test_an_error_names_the_value_and_what_is_required(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(None, parse_override(override))
    assert str(caught.value).startswith("--set: ")


def test_places_of_the_norm_are_in_order_and_may_be_written_by_name() -> None:
    config = resolve(None, parse_override("model.norm_places=[4, norm1, 1]")).config
    assert config.model.norm_places == (1, 4)


def test_one_error_has_every_bad_value(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("optimizer: {lr: x}\ntraining:\n  epochs: 0\n")
    with pytest.raises(ConfigError) as caught:
        resolve(path)
    assert f"{path}:1: optimizer.lr: received 'x'" in str(caught.value)
    assert f"{path}:3: training.epochs: received 0" in str(caught.value)


@pytest.mark.parametrize("text", ["=1", "epochs", ""])
def test_an_override_must_be_key_equals_value(text: str) -> None:
    with pytest.raises(ConfigError, match="must be KEY=VALUE"):
        parse_override(text)


def test_a_huge_or_recursive_value_makes_a_short_message(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model:\n  norm: &a [*a, " + "1, " * 9999 + "]\n")
    with pytest.raises(ConfigError, match="it must be text") as caught:
        resolve(path)
    assert len(str(caught.value)) < 600
