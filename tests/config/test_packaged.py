"""The configs that come with bnrun: found by name, in the repository and where it is installed."""

import tomllib
from pathlib import Path

import pytest

from bnrun.config import packaged_configs, resolve
from bnrun.config.packaged import PACKAGE, about
from bnrun.errors import ConfigError

ROOT = Path(__file__).parents[2]
NAMES = ["lenet_bn", "lenet_builtin", "lenet_fast", "lenet_maxpool", "lenet_nobn"]


def test_a_wheel_has_them_in_the_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]
    assert wheel["force-include"] == {"configs": f"{PACKAGE.name}/configs"}


@pytest.mark.parametrize("folder", ["bnrun/configs", "configs"], ids=["installed", "repository"])
def test_they_are_found_in_the_package_or_beside_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / "bnrun").mkdir()
    (tmp_path / folder).mkdir()
    file = tmp_path / folder / "mine.yaml"
    file.touch()
    assert packaged_configs(tmp_path / "bnrun") == {"mine": file}


def test_all_are_there_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(packaged_configs()) == NAMES
    for name, file in packaged_configs().items():
        assert file.read_text() == (ROOT / "configs" / f"{name}.yaml").read_text()
        assert resolve(Path(name)).name == name


def test_the_source_of_a_value_says_whose_file_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(Path("lenet_nobn")).sources["model.norm"] == "bnrun's lenet_nobn.yaml:8"
    (tmp_path / "lenet_nobn").write_text("model: {norm: builtin}\n")  # an existing file wins
    assert resolve(Path("lenet_nobn")).sources["model.norm"] == "lenet_nobn:1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lenet_nobm", "Did you mean 'lenet_nobn'? bnrun has lenet_bn, lenet_builtin"),
        ("mine", "there is no config file and no config of bnrun of this name. Did you mean 'min"),
        ("configs/lenet_bn.yaml", "no such config file. Did you mean 'lenet_bn', which comes with"),
    ],
)
def test_a_mistyped_name_gets_the_closest_one(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        resolve(Path(text))
    assert str(caught.value).startswith(f"{text}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("# One\n# two, as in a.yaml.\n#\n#   bnrun\nmodel:\n", "One two, as in a.yaml."),
        ("# About .90: yes. And more.\n", "About .90: yes."),
        ("model: # no header\n", ""),
    ],
)
def test_a_config_is_about_the_first_sentence_of_its_header(text: str, first: str) -> None:
    assert about(text) == first
