"""The Python interface: what a notebook imports from `bnrun` itself."""

import ast
import doctest
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bnrun
import bnrun.verification.doctor
from bnrun import verification
from bnrun.api.configs import resolve_config
from bnrun.comparison import parity, run_comparison
from bnrun.comparison.comparison_events import ResultSoFar
from bnrun.comparison.result import Comparison
from bnrun.data import synthetic
from bnrun.events import (
    Activity,
    CheckpointReady,
    EpochEnded,
    Progress,
    RunEnded,
    RunStarted,
    Stage,
)
from bnrun.locks import Lock
from bnrun.training.model import build_model

SYNTHETIC = {"data.name": "synthetic", "training.engine": "eager"}
FUNCTIONS = [name for name in bnrun.__all__ if name[0].islower()]


class Mine(nn.BatchNorm2d):
    """A class that a test may hand over, as a notebook would."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Take inputs of any rank."""


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Few images, a parity of two steps, a doctor who sees one norm: enough to see them at work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "TRAIN_IMAGES", 300)
        patch.setattr(synthetic, "TEST_IMAGES", 100)
        patch.setattr(parity, "STEPS", 2)
        patch.setattr(verification.doctor, "NORMS", verification.doctor.NORMS[:1])
        yield


@pytest.fixture(scope="module")
def runs(quick: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in it, an epoch on generated images, and a comparison of two."""
    folder = tmp_path_factory.mktemp("session") / "runs"
    bnrun.train(epochs=1, overrides=SYNTHETIC, out=folder)
    bnrun.compare("none", Mine, seeds=[4], epochs=1, overrides=SYNTHETIC, out=folder)
    return folder


@pytest.fixture(scope="module")
def result(runs: Path) -> bnrun.TrainingResult:
    return bnrun.load_run(out=runs)


@pytest.mark.process
def test_importing_bnrun_imports_nothing_else_of_it() -> None:
    code = "import sys, bnrun; print([name for name in sys.modules if name.startswith('bnrun.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_type_checkers_see_is_what_is_exported() -> None:
    (block,) = (
        node
        for node in ast.parse(Path(bnrun.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == bnrun._MODULES


def test_every_exported_name_is_there() -> None:
    assert set(bnrun.__all__) <= set(dir(bnrun))
    for name in bnrun.__all__:
        assert getattr(bnrun, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'bnrun' has no attribute 'trian'"):
        _ = bnrun.trian  # type: ignore[attr-defined]


def test_every_error_of_the_tree_is_exported() -> None:
    def below(error: type[Exception]) -> set[str]:
        return {error.__name__}.union(*map(below, error.__subclasses__()))

    public = {name for name in below(bnrun.BnrunError) if not name.startswith("_")}
    assert public <= set(bnrun.__all__)


def test_types_are_shipped() -> None:
    assert Path(bnrun.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize("name", [None, *FUNCTIONS])
def test_the_examples_of_the_documentation_run(
    name: str | None, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    documented = bnrun if name is None else getattr(bnrun, name)
    example = doctest.DocTestParser().get_doctest(
        documented.__doc__, {}, name or "bnrun", None, None
    )
    assert example.examples, f"{name} has no example"
    assert doctest.DocTestRunner().run(example).failed == 0


def test_every_function_is_named_in_the_documentation_of_the_package() -> None:
    assert bnrun.__doc__
    for name in FUNCTIONS:
        assert f"`{name}`" in bnrun.__doc__


def test_training_prints_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bnrun.train(epochs=1, overrides=SYNTHETIC)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


class Shifted(torch.nn.BatchNorm2d):
    """A class of the caller, for either kind of input."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        pass


def test_a_class_is_a_norm() -> None:
    result = bnrun.train(norm=Shifted, epochs=1, overrides=SYNTHETIC)
    assert result.summary.norm == f"{__name__}:Shifted"
    assert type(result.model().norm1) is Shifted


def test_events_are_handed_over_as_they_happen() -> None:
    events: list[object] = []
    result = bnrun.train(epochs=2, overrides=SYNTHETIC, on_event=events.append)
    kinds = [type(event) for event in events if not isinstance(event, Progress | Activity)]
    epoch = [CheckpointReady, EpochEnded]
    assert kinds == [RunStarted, *epoch, *epoch, RunEnded]
    assert result.epochs == tuple(event for event in events if isinstance(event, EpochEnded))
    assert result.loss == result.epochs[-1].loss


def test_a_run_that_is_kept_is_the_run_that_was_returned(tmp_path: Path) -> None:
    result = bnrun.train(norm="builtin", epochs=1, seed=3, overrides=SYNTHETIC, out=tmp_path)
    (directory,) = tmp_path.iterdir()
    assert directory.name.endswith("-lenet_bn-builtin-s3")
    assert result.to_dict() == json.loads((directory / "summary.json").read_text())
    loaded = bnrun.load_run(directory)
    assert loaded.summary == result.summary
    for a, b in zip(loaded.model().parameters(), result.model().parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_error_of_the_caller_ends_the_training_and_frees_its_directory(tmp_path: Path) -> None:
    def stop(event: object) -> None:
        if isinstance(event, EpochEnded):
            raise LookupError

    with pytest.raises(LookupError):
        bnrun.train(epochs=5, overrides=SYNTHETIC, out=tmp_path, on_event=stop)
    (directory,) = tmp_path.iterdir()
    lock = Lock(directory / ".lock")
    lock.acquire()
    lock.release()
    assert len(bnrun.load_run(directory).epochs) == 1


def test_keywords_win_over_overrides_and_these_over_the_config(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 9, seed: 9, batch_size: 500}\nmodel: {pool: max}\n")
    config = bnrun.Config.model_validate(
        {"training": {"epochs": 9, "seed": 9, "batch_size": 500}, "model": {"pool": "max"}}
    )
    for given in (file, str(file), config):
        resolved = resolve_config(given, {"training.seed": 5}, epochs=1, seed=None).config
        settings = resolved.training
        assert (settings.epochs, settings.seed, settings.batch_size) == (1, 5, 500)
        assert resolved.model.pool == "max"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"overrides": {"optimizer.rl": 1.0}}, "overrides: there is no key 'optimizer.rl'"),
        ({"epochs": 0}, "epochs: training.epochs: received 0"),
        ({"norm": "skratch"}, "Did you mean 'scratch'?"),
        ({"device": "tpu"}, "device: training.device: received 'tpu'"),
    ],
)
def test_what_cannot_be_done_is_a_bnrun_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(bnrun.BnrunError) as raised:
        bnrun.train(**given)
    assert message in str(raised.value)


def test_training_under_a_launcher_warns_that_it_is_not_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.warns(UserWarning, match="a launcher") as warned, pytest.raises(bnrun.ConfigError):
        bnrun.train(epochs=-1)
    assert str(warned[0].message) == (
        "a launcher has started 4 processes, and bnrun.train trains in each of them alone. To "
        "train one network together, use the command: torchrun --nproc-per-node 2 -m bnrun train"
    )
    assert warned[0].filename == __file__


def test_a_training_that_diverges_says_so() -> None:
    result = bnrun.train(
        epochs=1, overrides=SYNTHETIC | {"model.activation": "relu", "optimizer.lr": 1e30}
    )
    assert result.status == "diverged"
    with pytest.raises(bnrun.RunError, match="no epoch"):
        _ = result.loss
    with pytest.raises(bnrun.RunError, match="no epoch"):
        result.model()


def test_what_is_asked_of_a_result_may_be_asked_of_its_directory(
    runs: Path, result: bnrun.TrainingResult
) -> None:
    (directory,) = runs.glob("*-lenet_bn-*")
    assert bnrun.inspect_gamma(directory) == bnrun.inspect_gamma(result)
    assert bnrun.evaluate("latest", out=runs) == bnrun.evaluate(result)


def test_a_comparison_that_is_kept_is_the_one_that_was_returned(tmp_path: Path) -> None:
    events: list[object] = []
    result = bnrun.compare(
        "none", "max=none,model.pool=max", seeds=2, epochs=1, overrides=SYNTHETIC,
        throughput=False, equivalence=0.5, out=tmp_path, on_event=events.append,
    )  # fmt: skip
    (directory,) = tmp_path.iterdir()
    assert json.loads(json.dumps(result.to_dict())) == json.loads(
        (directory / "summary.json").read_text()
    )
    assert bnrun.load_comparison(out=tmp_path) == result
    assert {Path(str(trial.run)).parent for trial in result.trials} == {directory / "trials"}
    assert ResultSoFar(result) == events[-1]


def test_a_comparison_that_is_not_kept_trains_with_the_file_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from torch import nn\n\n\nclass Mine(nn.Identity): ...\n")

    def compare(plan: Comparison, *_: object) -> Iterator[object]:
        file.unlink()
        for result in plan.arms:
            yield build_model(result.arm.config)
        return plan  # type: ignore[return-value]

    monkeypatch.setattr(run_comparison, "compare", compare)
    given = {**SYNTHETIC, "training.engine": "eager"}
    built: list[object] = []
    result = bnrun.compare(
        f"{file}:Mine", "none", overrides=given, throughput=False, on_event=built.append
    )
    assert [type(model.norm1).__name__ for model in built[-2:]] == ["Mine", "Identity"]  # type: ignore[attr-defined]
    assert result.arms[0].arm.config.model.norm_source == (f"{file}:Mine", None, None)


def test_a_class_is_compared_under_its_name_and_is_not_timed(runs: Path) -> None:
    comparison = bnrun.load_comparison(out=runs)
    assert [result.arm.name for result in comparison.arms] == ["none", "Mine"]
    assert comparison.seeds == (4,)
    assert comparison.status == "completed"
    assert comparison.speeds is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sweep": {"optimizer.lr": 0.1}}, "sweep: optimizer.lr: received 0.1; it must be a list"),
        ({"sweep": {"optimizr.lr": [1, 2]}}, "Did you mean 'optimizer.lr'?"),
        ({"pairs": "some", "sweep": {"optimizer.lr": [1, 2]}}, "--pairs: received 'some'"),
    ],
)
def test_a_sweep_or_a_choice_of_pairs_that_is_none_is_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(bnrun.ConfigError) as refused:
        bnrun.compare(**arguments)
    assert message in str(refused.value)


def test_a_comparison_writes_and_prints_nothing_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bnrun.compare("none", "builtin", seeds=1, epochs=1, overrides=SYNTHETIC, throughput=False)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


class Biased(nn.BatchNorm1d):
    """Normalizes with the unbiased variance: one mistake."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        scaled = (x - x.mean(dims).view(shape)) / (x.var(dims).view(shape) + self.eps).sqrt()
        return self.weight.view(shape) * scaled + self.bias.view(shape)


def test_a_class_is_verified_in_this_process_and_its_mistake_is_named(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stages: list[object] = []
    report = bnrun.verify(Biased, contract="torch", dtype="float64", on_event=stages.append)
    assert report.verdict == "fail"
    assert any("unbiased variance" in finding.sentence for finding in report.faults)
    assert report.implementation.endswith(":Biased")
    assert json.loads(json.dumps(report.to_dict()))["verdict"] == "fail"
    assert isinstance(stages[0], Stage)
    assert ":Biased: fail, " in bnrun.render(report)
    assert capfd.readouterr() == ("", "")


def test_a_class_inside_a_function_can_be_verified() -> None:
    class Hidden(nn.Identity):
        def __init__(self, num_features: int) -> None:
            super().__init__()

    assert bnrun.verify(Hidden).verdict == "fail"


@pytest.mark.parametrize(
    "given", [{"contract": "torhc"}, {"dtype": "float46"}, {"engine": "egaer"}]
)
def test_verify_takes_known_values_alone(given: dict[str, Any]) -> None:
    with pytest.raises(bnrun.ConfigError, match=f"{next(iter(given))}: .* Did you mean"):
        bnrun.verify("scratch", **given)


@pytest.mark.parametrize("function", [bnrun.train, bnrun.verify])
def test_options_of_a_norm_stand_in_place_of_those_written_with_it(
    function: Callable[..., object],
) -> None:
    with pytest.raises(bnrun.NormError, match="builtin takes no option 'ep'"):
        function(norm="builtin(eps=1)", norm_options={"ep": 1})


def test_a_class_inside_a_function_cannot_be_named_in_a_config() -> None:
    class Hidden(nn.BatchNorm1d):
        pass

    with pytest.raises(bnrun.NormError, match="top level"):
        bnrun.train(norm=Hidden, overrides=SYNTHETIC)


def test_statistics_that_nobody_knows_are_refused(result: bnrun.TrainingResult) -> None:
    with pytest.raises(bnrun.ConfigError, match="Did you mean 'population'"):
        bnrun.evaluate(result, statistics=["populations"])


def test_recalibrating_leaves_the_result_as_it_is(result: bnrun.TrainingResult) -> None:
    before = bnrun.evaluate(result)
    exact = bnrun.evaluate(bnrun.recalibrate(result, images=300))
    assert exact.recalibrated == 300
    assert bnrun.evaluate(result) == before


def test_data_comes_as_tensors() -> None:
    dataset = bnrun.load_data("synthetic", validation=100)
    assert dataset.validation is not None
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [
        200,
        100,
        100,
    ]
