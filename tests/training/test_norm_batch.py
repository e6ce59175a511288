"""Pieces of a batch that a norm cannot normalize are found before anything is trained."""

import pytest

from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset
from bnrun.errors import ConfigError
from bnrun.training import pick_device, train
from bnrun.training.norm_batch import check_norm_batch

IMAGES = 160  # two batches of 64 and one of 32


def _config(*overrides: str) -> Config:
    texts = ("training.batch_size=64", *overrides)
    return resolve(None, [a for text in texts for a in parse_override(text)]).config


@pytest.mark.parametrize(
    ("overrides", "batch", "better"),
    [
        (["training.norm_batch=1"], 64, 2),
        (["training.norm_batch=21"], 64, 22),
        (["training.norm_batch=31"], 32, 32),
        (["training.norm_batch=63", "model.norm=builtin"], 64, 64),
        (["training.norm_batch=1", "model.norm=textbook"], 64, 2),  # it puts out beta
        (["training.norm_batch=1", "model.norm=l1", "model.norm_places=[4]"], 64, 2),
    ],
    ids=str,
)
def test_a_piece_of_one_example_is_refused_with_a_number_that_leaves_none(
    overrides: list[str], batch: int, better: int
) -> None:
    message = rf"^training.norm_batch: .* of a batch of {batch}\. .*norm_batch={better}$"
    with pytest.raises(ConfigError, match=message):
        check_norm_batch(_config(*overrides), IMAGES)
    check_norm_batch(_config(*overrides, f"training.norm_batch={better}"), IMAGES)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["training.norm_batch=16"],
        ["training.norm_batch=1", "model.norm=layer"],
        ["training.norm_batch=1", "model.norm=none"],
        ["training.norm_batch=1", "model.norm_places=[1, 2]"],
        ["training.norm_batch=100", "training.batch_size=159"],  # the last batch has one image
    ],
    ids=str,
)
def test_what_the_norm_can_normalize_passes(overrides: list[str]) -> None:
    check_norm_batch(_config(*overrides), IMAGES)


def test_a_training_refuses_it_before_its_first_event(small: Dataset) -> None:
    with pytest.raises(ConfigError, match="norm_batch"):
        train(_config("training.norm_batch=1"), small, pick_device("cpu"))
