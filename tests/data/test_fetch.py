import errno
import gc
import gzip
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from torchvision.datasets import FashionMNIST

from bnrun.data import fetch as fetching
from bnrun.data import files, places
from bnrun.data.fetch import fetch
from bnrun.errors import DataError
from bnrun.show.console import stderr

IMAGES = "train-images-idx3-ubyte"
LABELS = "t10k-labels-idx1-ubyte"
DEBIAN, TORCHVISION, APT = fetching.SOURCES
# torchvision leaves the answers of a server that refused to the garbage collector
leaves_sockets = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def whole(folder):
    """The files in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(cache):
    return [path.name for path in cache.parents[1].glob("fetching-*")]


def refusal(told):
    """Fetch, in vain; return the message, and the reason of each source by its name."""
    with pytest.raises(DataError) as caught:
        fetch(told.append)
    message = str(caught.value)
    lines = [line.strip() for line in message.splitlines() if line.startswith("  ")]
    return message, dict(line.split(": ", 1) for line in lines)


# Each source, alone


def test_the_debian_packages_folder_is_a_source(lay, debian, cache, content, told):
    lay(debian, zipped=True)
    place = fetch(told.append)
    assert (place.folder, place.state) == (cache, "verified")
    assert whole(cache) == content
    assert DEBIAN in told.notices[-1]


def test_torchvisions_downloader_is_a_source(mirror, cache, content, told):
    mirror.offer()
    assert fetch(told.append).state == "verified"
    assert whole(cache) == content
    assert TORCHVISION in told.notices[-1]


def test_apt_is_a_source(apt, cache, content, told):
    apt.offer()
    assert fetch(told.append).state == "verified"
    assert whole(cache) == content
    assert APT in told.notices[-1]
    assert apt.calls == ["download dataset-fashion-mnist"]


def test_apt_without_package_lists_fetches_them_into_its_own_folder(apt, cache, content, told):
    apt.offer(lists=False)
    assert fetch(told.append).state == "verified"
    assert whole(cache) == content
    assert not (apt.system_lists / "fetched").exists()
    first, update, download = apt.calls
    assert first == "download dataset-fashion-mnist"
    assert update.endswith(" update")
    assert download.endswith(" download dataset-fashion-mnist")
    for call in (update, download):
        assert f"-oDir::State::Lists={cache.parents[1]}/fetching-" in call
        assert f"-oDir::Cache={cache.parents[1]}/fetching-" in call


# Their order


def test_the_installed_package_comes_before_the_downloader(lay, debian, mirror, told):
    lay(debian, zipped=True)
    mirror.offer()
    fetch(told.append)
    assert {event.source for event in told.fetching} == {DEBIAN}


def test_the_downloader_comes_before_apt(mirror, apt, told):
    mirror.offer()
    apt.offer()
    fetch(told.append)
    assert [s for s in (DEBIAN, TORCHVISION, APT) if s in {e.source for e in told.fetching}] == [
        DEBIAN,
        TORCHVISION,
    ]
    assert apt.calls == []


def test_a_whole_cache_is_not_fetched_again(lay, cache, mirror, told):
    lay(cache)
    assert fetch(told.append).state == "verified"
    assert told == []


def test_apt_comes_last_when_the_others_are_damaged(lay, debian, mirror, apt, content, told):
    content[IMAGES] = content[IMAGES][:-9]
    lay(debian, content, zipped=True)
    mirror.offer(content)
    apt.offer()
    fetch(told.append)
    assert APT in told.notices[-1]


# Every source refused: each with its reason, and what to do


def test_if_all_fail_each_source_is_listed_with_its_reason_and_what_to_do(cache, debian, told):
    message, reasons = refusal(told)
    assert list(reasons) == [DEBIAN, TORCHVISION, APT]
    assert reasons[DEBIAN] == f"{debian} is not there"
    assert "refused" in reasons[TORCHVISION]
    assert reasons[APT] == "apt-get is not on this machine"
    assert str(cache.parents[1]) in message
    assert "install the package dataset-fashion-mnist" in message
    assert "--set data.root=DIR" in message
    assert "--set data.name=synthetic" in message
    assert whole(cache) == {}
    assert leftovers(cache) == []


def test_apts_own_error_is_the_reason(apt, told):
    apt.script("#!/bin/sh\necho 'W: a warning' >&2\necho 'E: No network' >&2\nexit 100\n")
    assert refusal(told)[1][APT] == "apt-get: No network"


def test_apt_that_fails_without_a_word_gives_its_exit_code(apt, told):
    apt.script("#!/bin/sh\nexit 7\n")
    assert refusal(told)[1][APT] == "apt-get: exit code 7"


def test_apt_that_cannot_be_started_is_the_reason_not_the_cache(apt, told):
    apt.script("#!/no/such/shell\n")
    message, reasons = refusal(told)
    assert list(reasons) == [DEBIAN, TORCHVISION, APT]
    assert "can't be written" not in message


def test_apt_that_leaves_no_package_is_refused(apt, told):
    apt.script("#!/bin/sh\nexit 0\n")
    assert refusal(told)[1][APT] == "apt-get left no package behind"


def test_apt_with_a_broken_package_is_refused(apt, told):
    apt.script("#!/bin/sh\necho junk > dataset-fashion-mnist_1_all.deb\n")
    assert refusal(told)[1][APT].startswith("dpkg-deb: ")


def test_apt_without_dpkg_deb_is_refused(apt, told):
    apt.offer()
    (apt.tools / "dpkg-deb").unlink()
    assert refusal(told)[1][APT] == "dpkg-deb is not on this machine"


def test_a_package_with_other_images_is_refused(apt, other_content, cache, told):
    apt.offer(other_content)
    reason = refusal(told)[1][APT]
    assert "not the published ones" in reason
    assert f"{IMAGES} (unpublished)" in reason
    assert whole(cache) == {}


def spoil_a_byte(path):
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[500] ^= 1
    path.write_bytes(gzip.compress(data, 1))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    "flipped": (spoil_a_byte, "damaged"),
    "cut short": (cut_short, "damaged"),
    "missing": (Path.unlink, "missing"),
}


@pytest.mark.parametrize(("damage", "word"), DAMAGE.values(), ids=DAMAGE)
def test_a_bad_file_in_the_debian_folder_is_named_and_passed_over(
    lay, debian, cache, told, damage, word
):
    damage(lay(debian, zipped=True) / f"{IMAGES}.gz")
    reason = refusal(told)[1][DEBIAN]
    assert f"{IMAGES} is {word}" in reason
    assert LABELS not in reason
    assert whole(cache) == {}


def test_other_images_in_the_debian_folder_are_passed_over(lay, debian, other_content, told):
    lay(debian, other_content, zipped=True)
    assert "not the published" in refusal(told)[1][DEBIAN]


# A server that does not serve what it should


@pytest.mark.parametrize(
    "damage",
    [cut_short, lambda path: path.write_bytes(b"<html>log in first</html>")],
    ids=["gz cut short", "garbage"],
)
def test_a_download_that_is_damaged_is_refused(mirror, cache, told, damage):
    mirror.offer()
    damage(mirror.folder / f"{IMAGES}.gz")
    reason = refusal(told)[1][TORCHVISION]
    assert f"{IMAGES}.gz" in reason or "corrupted" in reason  # torchvision 0.21 names no file
    assert "corrupted" in reason
    assert whole(cache) == {}


@leaves_sockets
def test_a_download_that_is_missing_is_refused(mirror, told):
    mirror.offer()
    (mirror.folder / f"{LABELS}.gz").unlink()
    assert "404" in refusal(told)[1][TORCHVISION]
    gc.collect()  # here, where its warning is expected


def test_a_download_of_other_images_is_refused(mirror, other_content, cache, told):
    mirror.offer(other_content)
    reason = refusal(told)[1][TORCHVISION]
    assert "not the published ones" in reason
    assert f"{IMAGES} (unpublished)" in reason
    assert whole(cache) == {}


def test_a_download_with_a_flipped_byte_is_refused(mirror, content, told):
    content[IMAGES] = content[IMAGES][:-1] + bytes([content[IMAGES][-1] ^ 1])
    mirror.offer(content)  # with an MD5 that agrees
    assert f"{IMAGES} (damaged)" in refusal(told)[1][TORCHVISION]


@pytest.fixture
def answer_with(monkeypatch):
    """Serve the same bytes to whoever connects, whatever is asked; None is silence."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    threads = []

    def serve(reply):
        while True:
            connection, _ = server.accept()
            with connection:
                if over.is_set():
                    return
                if reply is None:
                    over.wait(30)
                    return
                connection.recv(1 << 16)
                connection.sendall(reply)

    def start(reply):
        port = server.getsockname()[1]
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
        threads.append(threading.Thread(target=serve, args=(reply,)))
        threads[0].start()

    with server:
        yield start
        over.set()
        socket.create_connection(server.getsockname()).close()  # wakes accept
        threads[0].join()
        gc.collect()


@leaves_sockets
def test_a_server_that_says_nothing_is_given_up(answer_with, monkeypatch, told):
    monkeypatch.setattr(fetching, "SILENCE_SECONDS", 0.1)
    answer_with(None)
    assert "timed out" in refusal(told)[1][TORCHVISION]
    assert socket.getdefaulttimeout() is None


@leaves_sockets
def test_a_server_that_does_not_speak_http_is_a_source_that_failed(answer_with, told):
    answer_with(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert list(refusal(told)[1]) == [DEBIAN, TORCHVISION, APT]


@leaves_sockets
def test_a_transfer_that_breaks_off_is_a_source_that_failed(answer_with, told):
    answer_with(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"1000\r\nonly this much"
    )
    assert list(refusal(told)[1]) == [DEBIAN, TORCHVISION, APT]


# A damaged cache


def flip(path):
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [flip, lambda path: path.write_bytes(b""), cut_short], ids=["flip", "empty", "cut"]
)
def test_a_damaged_file_in_the_cache_is_named_and_replaced(
    lay, cache, debian, content, told, damage
):
    damage(lay(cache) / IMAGES)
    lay(debian, zipped=True)
    assert fetch(told.append).state == "verified"
    assert whole(cache) == content
    assert f"{IMAGES} is damaged" in told.notices[0]
    assert str(cache / IMAGES) in told.notices[0]
    assert LABELS not in told.notices[0]


def test_a_missing_file_in_the_cache_is_replaced(lay, cache, debian, content, told):
    (lay(cache) / LABELS).unlink()
    lay(debian, zipped=True)
    assert fetch(told.append).state == "verified"
    assert whole(cache) == content


def test_a_damaged_gz_in_the_cache_gives_way(lay, cache, debian, told):
    cut_short(lay(cache, zipped=True) / f"{IMAGES}.gz")
    lay(debian, zipped=True)
    assert fetch(told.append).state == "verified"
    assert f"{IMAGES}.gz" in told.notices[0]


def test_a_damaged_cache_stays_as_it_is_while_nothing_better_comes(lay, cache, told):
    cut_short(lay(cache) / IMAGES)
    before = whole(cache)
    refusal(told)
    assert whole(cache) == before


def test_other_images_in_the_cache_are_refused_and_left_alone(
    lay, cache, debian, other_content, told
):
    """They are whole, and may be all that somebody has."""
    lay(cache, other_content)
    lay(debian, zipped=True)
    with pytest.raises(DataError, match=f"{cache}.* holds other images.*data.root=DIR"):
        fetch(told.append)
    assert whole(cache) == other_content


# Whole or not at all


def test_an_install_that_fails_half_way_leaves_every_file_whole(
    lay, cache, debian, content, told, monkeypatch
):
    lay(cache, {LABELS: content[LABELS]})
    (cache / IMAGES).write_bytes(b"old and damaged")
    lay(debian, zipped=True)
    replace, moved = Path.replace, []

    def fill_the_disk(path, target):
        if len(moved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved.append(path.name)
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fill_the_disk)
        with pytest.raises(DataError, match=r"No space left on device.*BNRUN_CACHE"):
            fetch(told.append)
    assert len(moved) == 2
    assert whole(cache) == {name: content[name] for name in {*moved, LABELS}}
    assert leftovers(cache) == []
    assert fetch(told.append).state == "verified"


def test_a_disk_that_fills_while_unpacking_leaves_the_cache_as_it_was(
    lay, cache, debian, content, told, monkeypatch
):
    lay(cache, {LABELS: content[LABELS]})
    (cache / IMAGES).write_bytes(b"old and damaged")
    before = whole(cache)
    lay(debian, zipped=True)

    def fill_the_disk(source, target, length=0):
        target.write(source.read(100))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fill_the_disk)
    with pytest.raises(DataError, match=r"No space left on device.*BNRUN_CACHE"):
        fetch(told.append)
    assert whole(cache) == before
    assert leftovers(cache) == []


def test_a_fetch_that_is_interrupted_leaves_nothing_behind(cache, told, monkeypatch):
    def interrupt(staging):
        (staging / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "SOURCES", {"a source": interrupt})
    with pytest.raises(KeyboardInterrupt):
        fetch(told.append)
    assert whole(cache) == {}
    assert leftovers(cache) == []


def test_what_a_killed_process_left_is_cleaned_up(lay, cache, debian, told):
    abandoned = cache.parents[1] / "fetching-abandoned"
    lay(abandoned / "unpacked")
    lay(debian, zipped=True)
    fetch(told.append)
    assert leftovers(cache) == []


@pytest.mark.parametrize("taken", ["cache", "cache/FashionMNIST", "cache/FashionMNIST/raw"])
def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path, told, taken):
    path = tmp_path / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"can't be written.*BNRUN_CACHE") as caught:
        fetch(told.append)
    assert str(tmp_path / "cache") in str(caught.value)


# Two processes

PROCESS = """
    import shutil, sys, time
    from pathlib import Path
    from bnrun.data import fetch, files

    name, meeting, source = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    files.FILES = {files}

    def slow(staging):
        (meeting / f"{{name}} is fetching").touch()
        for _ in range(6000):  # a minute: no test should hang for ever
            if (meeting / "go on").exists():
                return source
            time.sleep(0.01)

    fetch.SOURCES = {{"a slow source": slow}}
    place = fetch.fetch(lambda event: print(event, flush=True))
    print(place.state, flush=True)
"""


def test_of_two_processes_one_fetches_and_the_other_waits(tmp_path, lay, cache, content):
    meeting, source = tmp_path / "meeting", lay(tmp_path / "source")
    meeting.mkdir()
    played = {name: (published.size, published.sha256) for name, published in files.FILES.items()}
    table = f"{{name: files.Published(*p) for name, p in {played}.items()}}"
    program = textwrap.dedent(PROCESS).format(files=table)

    def start(name):
        command = [sys.executable, "-c", program, name, str(meeting), str(source)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with start("first") as first:
        while not (meeting / "first is fetching").exists():
            assert first.poll() is None
        with start("second") as second:
            line = second.stdout.readline()  # it waits, and says so
            (meeting / "go on").touch()
            assert "another process is fetching Fashion-MNIST" in line
            assert second.stdout.read().split() == ["verified"]
            assert first.stdout.read().endswith("verified\n")
    assert (first.returncode, second.returncode) == (0, 0)
    assert not (meeting / "second is fetching").exists()
    assert whole(cache) == content
    assert leftovers(cache) == []


# What is told


def test_the_bytes_that_arrive_are_told(told, lay, monkeypatch, tmp_path):
    """A source that waits, within reason, until its bytes have been counted."""
    source, counted = lay(tmp_path / "source"), threading.Event()

    def slow(staging):
        (staging / "dataset-fashion-mnist_1_all.deb").write_bytes(bytes(1234))
        (staging / places.RAW).mkdir(parents=True)
        (staging / places.RAW / f"{IMAGES}.gz").write_bytes(bytes(1000))
        assert counted.wait(30)
        return source

    def tell(event):
        told.append(event)
        if getattr(event, "received", 0) == 2234:
            counted.set()

    monkeypatch.setattr(fetching, "SOURCES", {"a source": slow})
    fetch(tell)
    assert told.fetching[0] == fetching.Fetching("a source", 0, fetching.DOWNLOAD_BYTES)
    assert fetching.Fetching("a source", 2234, fetching.DOWNLOAD_BYTES) in told


def test_fetching_writes_nothing_itself(mirror, apt, cache, told, capfd):
    mirror.offer()
    fetch(told.append)
    shutil.rmtree(cache.parents[1])
    cut_short(mirror.folder / f"{IMAGES}.gz")
    apt.offer(lists=False)
    fetch(told.append)
    assert APT in told.notices[-1]
    assert capfd.readouterr() == ("", "")


def test_progress_is_seen_while_torchvision_downloads(mirror, monkeypatch, capfd):
    """The screen's stream is that of its start, whatever a source does to sys.stderr meanwhile."""
    mirror.offer()
    waiting = []

    class Watched(FashionMNIST):
        def download(self):
            super().download()
            sys.stderr.write("torchvision's chatter")
            told = threading.Event()
            waiting.append(told)
            assert told.wait(30)  # until the watcher has told of it

    Watched.__name__ = "FashionMNIST"  # torchvision names the folder after it
    console = stderr()

    def tell(event):
        if waiting and not waiting[0].is_set():
            console.print("progress")
            waiting[0].set()

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Watched)
    fetch(tell)
    assert capfd.readouterr() == ("", "progress\n")


def test_the_environment_is_left_as_it_was(mirror, told):
    mirror.offer()
    before, folder = dict(os.environ), Path.cwd()
    fetch(told.append)
    assert dict(os.environ) == before
    assert Path.cwd() == folder
    assert socket.getdefaulttimeout() is None
