"""The arms of a benchmark, as they are written."""

from pathlib import Path

import pytest

from bnrun.benchmark.arm_syntax import DEFAULT_ARMS, bench_arms
from bnrun.config import parse_override
from bnrun.errors import ConfigError, NormError


def test_arms_are_loops_norms_and_what_compare_takes() -> None:
    overrides = [*parse_override("optimizer.lr=0.5"), *parse_override("training.seed=7")]
    loop, scratch, eager = bench_arms(
        ["loop:04 scratch", "eager=scratch,training.engine=eager"], None, overrides
    )
    assert (loop.name, loop.workers, loop.config.optimizer.lr) == ("loop-4", 4, 0.5)
    assert (scratch.name, scratch.workers, scratch.config.training.engine) == (
        "scratch", None, "auto",
    )  # fmt: skip
    assert (eager.config.training.engine, eager.config.training.seed) == ("eager", 7)


def test_a_config_file_is_what_every_arm_starts_from(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {pool: max}\n")
    arms = bench_arms(["loop:0 builtin"], tmp_path / "mine.yaml")
    assert [arm.config.model.pool for arm in arms] == ["max", "max"]


def test_a_path_with_spaces_can_be_quoted(tmp_path: Path) -> None:
    (tmp_path / "my norms.py").write_text("")
    (arm,) = bench_arms([f"mine='{tmp_path}/my norms.py:Norm'"], None)
    assert arm.config.model.norm == f"{tmp_path}/my norms.py:Norm"


def test_the_default_arms_are_acceptable() -> None:
    assert [arm.name for arm in bench_arms([DEFAULT_ARMS], None)] == [
        "loop-4", "loop-0", "scratch", "builtin", "eager", "builtin-eager",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loop:x", "loop:N"),
        ("loop:", "loop:N"),
        ("loop:65", "0 to 64"),
        ("loop:²", "loop:N"),
        ("scratch scratch", "there are two of this name"),
        ("loop:0 loop:00", "there are two of this name"),
        ("scratch big=scratch,training.batch_size=512", "training.batch_size can't differ"),
        ("  ", "name one arm or more"),
        ("'scratch", "No closing quotation"),
        ("a=scratch,training.engine=eagr", "training.engine"),
    ],
)
def test_what_is_no_arm_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bench_arms([text], None)


def test_a_norm_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NormError, match="Did you mean 'scratch'"):
        bench_arms(["loop:0 scrach"], None)
