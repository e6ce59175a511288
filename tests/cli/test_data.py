"""`bnrun data` through the real command line.

No test may see the machine's own data, so most of them run bnrun after naming another Debian folder
and, where the text says *published*, four small files as the published ones.
"""

import gzip
import hashlib
import json
import os
import re
import socket

import pytest

OTHER_PLACES = """
import json, os
from pathlib import Path
from bnrun.data import files, places
places.DEBIAN_FOLDER = Path(os.environ["DEBIAN_FOLDER"])
published = json.loads(os.environ["PUBLISHED"])
if published:
    files.FILES = {name: files.Published(*values) for name, values in published.items()}
"""
IMAGES = "train-images-idx3-ubyte"


def make_content(train, test):
    """Return the four files, extracted, all of one grey."""
    content = {}
    for prefix, count in (("train", train), ("t10k", test)):
        size = count.to_bytes(4)
        header = b"\0\0\x08\x03" + size + (28).to_bytes(4) * 2
        content[f"{prefix}-images-idx3-ubyte"] = header + bytes([train]) * (count * 784)
        labels = bytes(i % 10 for i in range(count))
        content[f"{prefix}-labels-idx1-ubyte"] = b"\0\0\x08\x01" + size + labels
    return content


PUBLISHED, OTHER = make_content(30, 10), make_content(12, 6)


def lay(folder, content=PUBLISHED, zipped=False):
    """Write the files where torchvision expects them below a folder."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, data in content.items():
        if zipped:
            (raw / f"{name}.gz").write_bytes(gzip.compress(data, 1))
        else:
            (raw / name).write_bytes(data)
    return raw


@pytest.fixture
def environment(tmp_path):
    """No network, no tools, no data of this machine; warnings are errors, as in these tests."""
    (tmp_path / "bin").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        yield {
            "PATH": str(tmp_path / "bin"),
            "HOME": str(tmp_path),
            "BNRUN_CACHE": str(tmp_path / "cache"),
            "DEBIAN_FOLDER": str(tmp_path / "debian"),
            "PUBLISHED": "{}",
            "http_proxy": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "PYTHONIOENCODING": "utf-8",
            "COLUMNS": "300",
        }


@pytest.fixture
def start(bnrun, environment):
    """Run `bnrun data ARGUMENTS`; return the finished process."""

    def run(*arguments, before=OTHER_PLACES, fresh=False, **changes):
        environment.update(changes)
        return bnrun("data", *arguments, before=before, fresh=fresh)

    return run


@pytest.fixture
def start_published(start):
    """As `start`, where the published files are the small ones."""
    table = {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in PUBLISHED.items()
    }
    return lambda *arguments: start(*arguments, PUBLISHED=json.dumps(table))


def only_document(done):
    """Return the one JSON document that is all of stdout; stderr says nothing."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def states(document):
    return {place["source"]: place["state"] for place in document["places"]}


def test_with_nothing_here_it_says_how_to_fetch(start):
    done = start()
    assert done.returncode == 0, done.stderr
    assert "`bnrun data fetch` gets it" in done.stdout
    assert "absent" in done.stdout
    assert "Used" not in done.stdout
    assert done.stderr == ""


def test_with_nothing_here_json_has_every_place_and_none_used(start, tmp_path):
    document = only_document(start("--json"))
    raw = tmp_path / "cache" / "FashionMNIST" / "raw"
    assert document == {
        "used": None,
        "places": [
            {
                "source": "bnrun's cache",
                "folder": str(raw),
                "origin": "",
                "state": "absent",
                "problems": "",
            },
            {
                "source": "Debian's package",
                "folder": str(tmp_path / "debian"),
                "origin": "",
                "state": "absent",
                "problems": "",
            },
        ],
    }
    assert not (tmp_path / "cache").exists()  # looking makes nothing


def test_a_verified_root_is_used(start_published, tmp_path):
    raw = lay(tmp_path / "mine")
    done = start_published("--root", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    assert re.search(r"data\.root +verified", done.stdout)
    assert f"Used: {raw}" in done.stdout
    document = only_document(start_published("--root", tmp_path / "mine", "--json"))
    assert document["used"] == str(raw)
    assert states(document)["data.root"] == "verified"


def test_a_verified_cache_is_used(start_published, tmp_path):
    raw = lay(tmp_path / "cache", zipped=True)
    document = only_document(start_published("--json"))
    assert document["used"] == str(raw)
    assert states(document) == {"bnrun's cache": "verified", "Debian's package": "absent"}


def test_a_root_with_other_images_is_unpublished_and_used(start, tmp_path):
    raw = lay(tmp_path / "mine")
    document = only_document(start("--root", tmp_path / "mine", "--json", before=""))
    assert document["used"] == str(raw)
    assert states(document)["data.root"] == "unpublished"


def test_a_damaged_root_is_named_with_its_file_and_reason(start, tmp_path):
    raw = lay(tmp_path / "mine")
    (raw / IMAGES).write_bytes(PUBLISHED[IMAGES][:-5])
    done = start("--root", tmp_path / "mine", before="")
    assert done.returncode == 0, done.stderr
    assert re.search(r"data\.root +damaged", done.stdout)
    assert f"{IMAGES} is damaged ({raw / IMAGES}: 23,531 bytes, where" in done.stdout
    assert f"Used: {raw}" not in done.stdout


def test_an_incomplete_root_names_the_missing_file(start, tmp_path):
    raw = lay(tmp_path / "mine")
    (raw / IMAGES).unlink()
    document = only_document(start("--root", tmp_path / "mine", "--json"))
    assert states(document)["data.root"] == "incomplete"
    assert f"{IMAGES} is missing" in document["places"][0]["problems"]
    assert document["used"] is None


def test_nothing_is_called_used_that_training_would_refuse(start_published, tmp_path):
    """With this data.root training ends with an error, whatever the cache holds."""
    raw = lay(tmp_path / "mine")
    (raw / IMAGES).write_bytes(b"")
    lay(tmp_path / "cache")
    assert only_document(start_published("--root", tmp_path / "mine", "--json"))["used"] is None


def test_nothing_is_called_used_that_training_would_replace(start_published, tmp_path):
    """Other images are used from data.root alone; in the cache they give way to a fetch."""
    lay(tmp_path / "cache", OTHER)
    document = only_document(start_published("--json"))
    assert states(document)["bnrun's cache"] == "unpublished"
    assert document["used"] is None


@pytest.mark.process
def test_looking_does_not_import_torch(start, tmp_path):
    lay(tmp_path / "mine")
    done = start("--root", tmp_path / "mine", fresh=True, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "bnrun.data.places" in imported
    assert imported.isdisjoint({"torch", "torchvision", "numpy", "matplotlib"})


def test_fetch_with_no_source_reachable_is_one_clear_error(start, tmp_path):
    done = start("fetch")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    reasons = dict(re.findall(r"^  ([^:]+): (.+)$", done.stderr, re.MULTILINE))
    assert list(reasons) == [
        "Debian's package, installed",
        "torchvision's mirror",
        "Debian's package, by apt",
    ]
    assert reasons["Debian's package, by apt"] == "apt-get is not on this machine"
    assert "refused" in reasons["torchvision's mirror"]
    assert "--set data.name=synthetic" in done.stderr
    assert list((tmp_path / "cache").rglob("bnrun-fetching-*")) == []


def test_fetch_puts_verified_files_into_the_cache(start_published, tmp_path):
    debian = lay(tmp_path / "package", zipped=True).rename(tmp_path / "debian")
    done = start_published("fetch")
    raw = tmp_path / "cache" / "FashionMNIST" / "raw"
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{raw}: verified\n"
    assert "Fashion-MNIST came from Debian's package, installed" in done.stderr
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == PUBLISHED
    assert len(list(debian.iterdir())) == 4
    again = start_published("fetch")
    assert again.stdout == f"{raw}: verified\n"
    assert again.stderr == ""


def test_fetch_into_a_root_makes_it_one_that_training_uses(start_published, tmp_path):
    lay(tmp_path / "package", zipped=True).rename(tmp_path / "debian")
    refused = start_published("--root", "my data")
    assert "`bnrun data fetch --root 'my data'` puts it there" in refused.stdout
    done = start_published("fetch", "--root", "my data")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "my data/FashionMNIST/raw: verified\n"
    document = only_document(start_published("--root", "my data", "--json"))
    assert document["used"] == "my data/FashionMNIST/raw"
    assert not (tmp_path / "cache").exists()


def test_fetch_into_a_cache_that_cannot_be_written_is_an_error(start, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    done = start("fetch", before="")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert f"{tmp_path / 'cache'} can't be written" in done.stderr
    assert "BNRUN_CACHE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rot", "."], "--rot"),
        (["fetsh"], "fetsh"),
        (["--root"], "--root"),
        (["--root", ".", "fetch"], "after it"),
    ],
    ids=["unknown option", "unknown command", "no folder", "root before fetch"],
)
def test_a_wrong_argument_is_named_as_a_usage_error(start, arguments, named):
    done = start(*arguments, before="")
    assert done.returncode == 2
    assert done.stdout == ""
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_the_options_and_fetch(start):
    done = start("--help", before="")
    assert done.returncode == 0
    for word in ("--root", "--json", "fetch"):
        assert word in done.stdout
