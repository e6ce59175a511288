import sys
from pathlib import Path

import platformdirs
import pytest

from bnrun.data import places
from bnrun.data.files import FileReport
from bnrun.errors import DataError
from bnrun.paths import cache_root


def place(*states):
    return places.Place(
        "a source", Path("folder"), tuple(FileReport(f"file{i}", s) for i, s in enumerate(states))
    )


@pytest.mark.parametrize(
    ("states", "together"),
    [
        (("verified", "verified", "verified", "verified"), "verified"),
        (("verified", "unpublished", "verified", "verified"), "unpublished"),
        (("unpublished", "unpublished", "unpublished", "unpublished"), "unpublished"),
        (("missing", "missing", "missing", "missing"), "absent"),
        (("verified", "verified", "missing", "verified"), "incomplete"),
        (("unpublished", "missing", "missing", "missing"), "incomplete"),
        (("verified", "verified", "verified", "damaged"), "damaged"),
        (("damaged", "missing", "missing", "missing"), "damaged"),
    ],
)
def test_four_files_have_one_state_together(states, together):
    assert place(*states).state == together


def test_problems_name_each_bad_file_and_its_reason():
    reports = (
        FileReport("good", "verified"),
        FileReport("other", "unpublished", "of no interest"),
        FileReport("broken", "damaged", "a byte is wrong"),
        FileReport("gone", "missing", "it is not there"),
    )
    found = places.Place("a source", Path("folder"), reports)
    assert found.problems == (
        "broken is damaged (a byte is wrong); gone is missing (it is not there)"
    )
    assert place("verified", "unpublished").problems == ""


def test_bnrun_cache_is_honoured(tmp_path, monkeypatch, lay):
    monkeypatch.setenv("BNRUN_CACHE", str(tmp_path / "mine"))
    lay(tmp_path / "mine" / "FashionMNIST" / "raw")
    assert cache_root() == tmp_path / "mine"
    assert places.cache().folder == tmp_path / "mine" / "FashionMNIST" / "raw"
    assert places.cache().state == "verified"


def test_an_origin_that_is_not_text_does_not_hide_the_images(tmp_path, monkeypatch, lay):
    monkeypatch.setenv("BNRUN_CACHE", str(tmp_path))
    lay(tmp_path / "FashionMNIST" / "raw")
    (tmp_path / places.ORIGIN).write_bytes(b"a \xff source\n")
    assert places.cache().state == "verified"
    assert places.cache().origin == "a \N{REPLACEMENT CHARACTER} source"


def test_a_root_that_cannot_be_a_path_is_refused_by_its_key():
    with pytest.raises(DataError, match=r"^data\.root: .*File name too long"):
        places.find("a" * 300)


def test_bnrun_cache_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BNRUN_CACHE", "~/data")
    assert cache_root() == tmp_path / "data"


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_without_bnrun_cache_it_is_the_platforms(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("BNRUN_CACHE")
    else:
        monkeypatch.setenv("BNRUN_CACHE", value)
    assert cache_root() == Path(platformdirs.user_cache_dir("bnrun"))


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders are Linux's")
def test_on_linux_the_cache_is_below_xdg_cache_home_or_home(tmp_path, monkeypatch):
    monkeypatch.delenv("BNRUN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "bnrun"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "bnrun"


def test_a_configured_root_is_in_torchvisions_layout(tmp_path, monkeypatch, lay):
    lay(tmp_path / "data" / "FashionMNIST" / "raw")
    assert places.configured(str(tmp_path / "data")).state == "verified"
    assert places.configured(str(tmp_path)).state == "absent"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.configured("~/data").state == "verified"


def test_the_debian_packages_folder_is_read_as_gz(lay, debian):
    assert places.debian_package().state == "absent"
    lay(debian, zipped=True)
    assert places.debian_package().state == "verified"
    assert places.debian_package().folder == debian


def test_the_debian_packages_folder_is_the_one_of_facts(monkeypatch):
    monkeypatch.undo()
    assert Path("/usr/share/datasets/fashion-mnist") == places.DEBIAN_FOLDER
