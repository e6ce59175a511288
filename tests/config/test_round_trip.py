"""Any config, written as YAML, is read back equal; and so is any plain value, by either YAML."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from bnrun.config import STATISTICS, Config, config_assignments, resolve, yaml_text
from bnrun.config.schema import (
    NORM_PLACES,
    PROBES,
    SEED_LIMIT,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from bnrun.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # no lone surrogates
NORMS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="()"), max_size=30
).filter(str.strip)  # brackets hold options
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@st.composite
def optimizers(draw: st.DrawFn) -> OptimizerConfig:
    momentum = draw(st.floats(0, 1, exclude_max=True))
    return OptimizerConfig(
        lr=draw(POSITIVE),
        momentum=momentum,
        nesterov=momentum > 0 and draw(st.booleans()),
        weight_decay=draw(st.floats(min_value=0, allow_infinity=False)),
        schedule=draw(st.sampled_from(["constant", "one-cycle"])),
    )


CONFIGS = st.builds(
    Config,
    model=st.builds(
        ModelConfig,
        norm=NORMS,
        pool=st.sampled_from(["avg", "max"]),
        activation=st.sampled_from(["sigmoid", "relu"]),
        norm_places=st.lists(st.sampled_from([*NORM_PLACES, "norm4"]), min_size=1),
        norm_position=st.sampled_from(["before", "after"]),
        weights=st.sampled_from(["plain", "standardized", "normalized"]),
        dropout=st.floats(0, 1, exclude_max=True),
        weight_scale=POSITIVE,
    ),
    data=st.builds(
        DataConfig,
        name=st.sampled_from(["fashion-mnist", "synthetic"]),
        root=st.none() | TEXT,
        validation=st.integers(0, 60_000),
        images=st.none() | st.integers(1, 60_000),
    ),
    optimizer=optimizers(),
    training=st.builds(
        TrainingConfig,
        epochs=st.integers(1, 10**6),
        batch_size=st.integers(1, 10**6),
        norm_batch=st.none() | st.integers(1, 10**6),
        norm_statistics=st.sampled_from(["synced", "local"]),
        seed=st.integers(0, SEED_LIMIT - 1),
        device=st.sampled_from(["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"]),
        deterministic=st.booleans(),
        evaluate=st.lists(st.sampled_from(STATISTICS), min_size=1).map(tuple),
        population_images=st.integers(2, 60_000),
        keep_every=st.integers(0, 100),
        probe=st.lists(st.sampled_from(PROBES), unique=True).map(tuple),
        probe_every=st.integers(1, 1000),
        engine=st.sampled_from(["auto", "eager", "compiled"]),
    ),
)


@given(CONFIGS)
def test_a_config_written_as_yaml_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, config: Config
) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(config.yaml(), encoding="utf-8")
    assert resolve(path).config == config
    assert yaml.safe_load(config.yaml()) == config.to_dict()  # which reads YAML 1.1


@given(CONFIGS)
def test_a_config_as_overrides_is_the_same_config(config: Config) -> None:
    assert resolve(None, config_assignments(config.to_dict(), "test")).config == config


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)


@given(VALUES)
@example("no")
@example("1e3")
@example("0o7")
@example("1:30")
@example("2026-11-21")
@example({"=": "=", "": "~", "null": "NULL"})
def test_any_plain_value_is_read_back_with_its_type(value: Any) -> None:
    text = yaml_text.dump(value)
    again = yaml_text.parse(text, "here").value
    assert again == value
    assert repr(again) == repr(value)  # 1 is not 1.0, nor True


@given(st.text())
def test_a_text_is_parsed_or_refused_with_its_source(text: str) -> None:
    source = "here"
    try:
        yaml_text.parse(text, "here")
    except ConfigError as error:
        source = str(error.source)
    assert source.startswith("here")
