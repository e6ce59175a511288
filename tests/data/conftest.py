"""Small IDX files play the published Fashion-MNIST, and no test can reach a real source.

What a test plays with: `content` holds the four files' bytes; `lay` writes them to a folder;
`root`, `cache`, `debian`, `mirror` and `apt` are the places and sources that bnrun knows.
"""

import gzip
import hashlib
import http.server
import os
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from bnrun.data import files, places, sources
from bnrun.events import Activity, Fetching, Notice

TRAIN_IMAGES, TEST_IMAGES = 300, 100
MIRRORS = "torchvision.datasets.FashionMNIST.mirrors"  # by name: importing it takes seconds
Content = Mapping[str, bytes]


def make_idx(sizes: tuple[int, ...], values: bytes) -> bytes:
    """Return an IDX file of unsigned bytes."""
    return bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4) for n in sizes) + values


def make_content(train: int, test: int, seed: int) -> dict[str, bytes]:
    """Return the four files, extracted: noise as images, and labels 0 to 9."""
    noise = random.Random(seed)
    content = {}
    for prefix, count in (("train", train), ("t10k", test)):
        images, labels = noise.randbytes(count * 784), bytes(noise.choices(range(10), k=count))
        content[f"{prefix}-images-idx3-ubyte"] = make_idx((count, 28, 28), images)
        content[f"{prefix}-labels-idx1-ubyte"] = make_idx((count,), labels)
    return content


PUBLISHED = make_content(TRAIN_IMAGES, TEST_IMAGES, seed=0)
# Other images than the published ones, sound, in files of other sizes.
OTHER = make_content(40, 20, seed=1)


@pytest.fixture
def idx() -> Callable[[tuple[int, ...], bytes], bytes]:
    return make_idx


@pytest.fixture
def content() -> dict[str, bytes]:
    return dict(PUBLISHED)


@pytest.fixture
def other_content() -> dict[str, bytes]:
    return dict(OTHER)


@pytest.fixture
def lay() -> Callable[..., Path]:
    """Write files to a folder, those named in `zipped` as `.gz`; `zipped=True` means all."""

    def write(
        folder: Path, content: Content = PUBLISHED, zipped: bool | tuple[str, ...] = ()
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            if zipped is True or (zipped and name in zipped):
                (folder / f"{name}.gz").write_bytes(gzip.compress(data, 1))
            else:
                (folder / name).write_bytes(data)
        return folder

    return write


@pytest.fixture(autouse=True)
def closed_port() -> Iterator[int]:
    """A port on which nobody listens: it is taken, and stays silent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    """No Debian package, no mirror, no apt-get; an empty cache; small published files."""
    played = {
        name: files.Published(len(data), hashlib.sha256(data).hexdigest())
        for name, data in PUBLISHED.items()
    }
    monkeypatch.setattr(files, "FILES", played)
    monkeypatch.setenv("BNRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(MIRRORS, [f"http://127.0.0.1:{closed_port}/"])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The folder of the four files in bnrun's cache; not made yet."""
    return tmp_path / "cache" / places.RAW


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """The folder of the installed Debian package; not made yet."""
    return tmp_path / "debian"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the four files below a configured root; not made yet."""
    return tmp_path / "root" / places.RAW


class Seen(list):
    """The events of some work, in order; the names of activities apart from the others."""

    def __init__(self) -> None:
        super().__init__()
        self.activities: list[str] = []

    def append(self, event: object) -> None:
        if isinstance(event, Activity):
            self.activities.append(event.name)
        else:
            super().append(event)

    @property
    def notices(self) -> list[str]:
        return [event.message for event in self if isinstance(event, Notice)]

    @property
    def fetching(self) -> list[Fetching]:
        return [event for event in self if isinstance(event, Fetching)]


@pytest.fixture
def seen() -> Seen:
    return Seen()


class Mirror:
    """A server that plays torchvision's mirror."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def offer(self, content: Content = PUBLISHED) -> None:
        """Serve files."""
        for name, data in content.items():
            (self.folder / f"{name}.gz").write_bytes(gzip.compress(data, 1))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setattr(MIRRORS, [address])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Mirror(folder)
        server.shutdown()
        thread.join()


APT = """#!/bin/sh
# Plays apt-get: it knows the package only where its lists folder holds the file `fetched`.
echo "$@" >> {log}
lists={system_lists}
for option; do
    case $option in -oDir::State::Lists=*) lists=${{option#*=}} ;; esac
done
case "$*" in
*update) : > "$lists/fetched" ;;
*"download {package}")
    if [ ! -e "$lists/fetched" ]; then
        echo "W: some warning" >&2
        echo "E: Unable to locate package {package}" >&2
        exit 100
    fi
    cp {deb} . ;;
*) exit 1 ;;
esac
"""


class Apt:
    """A machine with apt-get, whose archive holds one real package."""

    def __init__(self, folder: Path, tools: Path) -> None:
        self.folder, self.tools = folder, tools
        self.log = folder / "log"
        self.system_lists = folder / "system-lists"
        self.system_lists.mkdir(parents=True)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def script(self, text: str) -> None:
        """Make `text` the program apt-get."""
        (self.tools / "apt-get").write_text(text)
        (self.tools / "apt-get").chmod(0o755)

    def offer(self, content: Content = PUBLISHED, *, lists: bool = True) -> None:
        """Build the package; without `lists`, it is known only after an update."""
        tree = self.folder / "tree"
        (tree / "DEBIAN").mkdir(parents=True, mode=0o755)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {sources.PACKAGE}\nVersion: 1\nArchitecture: all\n"
            "Maintainer: nobody <nobody@example.org>\nDescription: small images\n"
        )
        inside = tree / places.DEBIAN_FOLDER.relative_to("/")
        inside.mkdir(parents=True)
        for name, data in content.items():
            (inside / f"{name}.gz").write_bytes(gzip.compress(data, 1))
        deb = self.folder / f"{sources.PACKAGE}_1_all.deb"
        command = ["dpkg-deb", "-Zgzip", "--root-owner-group", "-b", str(tree), str(deb)]
        subprocess.run(command, check=True, capture_output=True)
        if lists:
            (self.system_lists / "fetched").touch()
        self.script(
            APT.format(
                log=self.log, system_lists=self.system_lists, package=sources.PACKAGE, deb=deb
            )
        )


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    tools = tmp_path / "bin"
    for tool in ("dpkg-deb", "tar", "cp"):
        found = shutil.which(tool, path=os.defpath + ":/usr/local/bin")
        if found is None:
            pytest.skip(f"{tool} is not on this machine")
        (tools / tool).symlink_to(found)
    return Apt(tmp_path / "archive", tools)
