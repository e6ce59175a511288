import errno
import gzip
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from bnrun.data import files, sources
from bnrun.data.fetch import STAGING, fetch
from bnrun.errors import DataError
from bnrun.events import Activity, Fetching, drain

IMAGES = "train-images-idx3-ubyte"
LABELS = "t10k-labels-idx1-ubyte"
DEBIAN, MIRROR, APT = sources.SOURCES


def whole(folder):
    """The files in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(cache):
    return [path.name for path in cache.parent.glob(f"{STAGING}*")]


def refusal(seen):
    """Fetch in vain; return the message, and the reason of each source by its name."""
    with pytest.raises(DataError) as caught:
        drain(fetch(), seen.append)
    message = str(caught.value)
    lines = [line.strip() for line in message.splitlines() if line.startswith("  ")]
    return message, dict(line.split(": ", 1) for line in lines)


# Each source, alone


def test_the_debian_packages_folder_is_a_source(lay, debian, cache, content, seen):
    lay(debian, zipped=True)
    place = drain(fetch(), seen.append)
    assert (place.folder, place.state) == (cache, "verified")
    assert whole(cache) == content
    assert DEBIAN in seen.notices[-1]


def test_torchvisions_mirror_is_a_source(mirror, cache, content, seen):
    mirror.offer()
    assert drain(fetch(), seen.append).state == "verified"
    assert whole(cache) == content
    assert MIRROR in seen.notices[-1]
    assert seen.activities == [
        "looking for Fashion-MNIST",
        "loading torchvision, which knows its mirrors",
        "waiting for torchvision's mirror",
        "unpacking and verifying the files",
        "verifying the files",
    ]


def test_apt_is_a_source(apt, cache, content, seen):
    apt.offer()
    assert drain(fetch(), seen.append).state == "verified"
    assert whole(cache) == content
    assert APT in seen.notices[-1]
    assert apt.calls == ["download dataset-fashion-mnist"]


def test_apt_without_package_lists_fetches_them_into_its_own_folder(apt, cache, content, seen):
    apt.offer(lists=False)
    assert drain(fetch(), seen.append).state == "verified"
    assert whole(cache) == content
    assert not (apt.system_lists / "fetched").exists()
    assert list(dict.fromkeys(seen.activities)) == [
        "looking for Fashion-MNIST",
        "loading torchvision, which knows its mirrors",
        "waiting for torchvision's mirror",
        "waiting for apt",
        "fetching apt's lists of packages",
        "unpacking the package",
        "unpacking and verifying the files",
        "verifying the files",
    ]
    first, update, download = apt.calls
    assert first == "download dataset-fashion-mnist"
    assert update.endswith(" update")
    assert download.endswith(" download dataset-fashion-mnist")
    for call in (update, download):
        assert f"-oDir::State::Lists={cache.parent}/{STAGING}" in call
        assert f"-oDir::Cache={cache.parent}/{STAGING}" in call


# Their order


def test_the_installed_package_comes_before_the_downloader(lay, debian, mirror, seen):
    lay(debian, zipped=True)
    mirror.offer()
    drain(fetch(), seen.append)
    assert {event.source for event in seen.fetching} == {DEBIAN}


def test_the_downloader_comes_before_apt(mirror, apt, seen):
    mirror.offer()
    apt.offer()
    drain(fetch(), seen.append)
    assert [s for s in (DEBIAN, MIRROR, APT) if s in {e.source for e in seen.fetching}] == [
        DEBIAN,
        MIRROR,
    ]
    assert apt.calls == []


def test_a_whole_cache_is_not_fetched_again(lay, cache, mirror, seen):
    lay(cache)
    assert drain(fetch(), seen.append).state == "verified"
    assert seen == []


def test_apt_comes_last_when_the_others_are_damaged(lay, debian, mirror, apt, content, seen):
    content[IMAGES] = content[IMAGES][:-9]
    lay(debian, content, zipped=True)
    mirror.offer(content)
    apt.offer()
    drain(fetch(), seen.append)
    assert APT in seen.notices[-1]


# Every source refused: each with its reason, and what to do


def test_if_all_fail_each_source_is_listed_with_its_reason_and_what_to_do(cache, debian, seen):
    message, reasons = refusal(seen)
    assert list(reasons) == [DEBIAN, MIRROR, APT]
    assert reasons[DEBIAN] == f"{debian} is not there"
    assert "refused" in reasons[MIRROR]
    assert reasons[APT] == "apt-get is not on this machine"
    assert str(cache.parents[1]) in message
    assert "install the package dataset-fashion-mnist" in message
    assert "--set data.root=DIR" in message
    assert "--set data.name=synthetic" in message
    assert whole(cache) == {}
    assert leftovers(cache) == []


def test_apts_own_error_is_the_reason(apt, seen):
    apt.script("#!/bin/sh\necho 'W: a warning' >&2\necho 'E: No network' >&2\nexit 100\n")
    assert refusal(seen)[1][APT] == "apt-get: No network"


def test_apt_that_fails_without_a_word_gives_its_exit_code(apt, seen):
    apt.script("#!/bin/sh\nexit 7\n")
    assert refusal(seen)[1][APT] == "apt-get: exit code 7"


def test_apt_that_cannot_be_started_is_the_reason_not_the_cache(apt, seen):
    apt.script("#!/no/such/shell\n")
    message, reasons = refusal(seen)
    assert list(reasons) == [DEBIAN, MIRROR, APT]
    assert "can't be written" not in message


def test_apt_that_leaves_no_package_is_refused(apt, seen):
    apt.script("#!/bin/sh\nexit 0\n")
    assert refusal(seen)[1][APT] == "apt-get left no package behind"


def test_apt_with_a_broken_package_is_refused(apt, seen):
    apt.script("#!/bin/sh\necho junk > dataset-fashion-mnist_1_all.deb\n")
    assert refusal(seen)[1][APT].startswith("dpkg-deb: ")


def test_apt_without_dpkg_deb_is_refused(apt, seen):
    apt.offer()
    (apt.tools / "dpkg-deb").unlink()
    assert refusal(seen)[1][APT] == "dpkg-deb is not on this machine"


def test_a_package_with_other_images_is_refused(apt, other_content, cache, seen):
    apt.offer(other_content)
    reason = refusal(seen)[1][APT]
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
    lay, debian, cache, seen, damage, word
):
    damage(lay(debian, zipped=True) / f"{IMAGES}.gz")
    reason = refusal(seen)[1][DEBIAN]
    assert f"{IMAGES} is {word}" in reason
    assert LABELS not in reason
    assert whole(cache) == {}


def test_other_images_in_the_debian_folder_are_passed_over(lay, debian, other_content, seen):
    lay(debian, other_content, zipped=True)
    assert "not the published" in refusal(seen)[1][DEBIAN]


# A server that does not serve what it should


@pytest.mark.parametrize(
    "damage",
    [cut_short, lambda path: path.write_bytes(b"<html>log in first</html>")],
    ids=["gz cut short", "garbage"],
)
def test_a_download_that_is_damaged_is_refused(mirror, cache, seen, damage):
    mirror.offer()
    damage(mirror.folder / f"{IMAGES}.gz")
    assert f"{IMAGES}.gz is damaged" in refusal(seen)[1][MIRROR]
    assert whole(cache) == {}


def test_a_download_that_is_missing_is_refused(mirror, seen):
    mirror.offer()
    (mirror.folder / f"{LABELS}.gz").unlink()
    assert f"{LABELS}.gz: 404" in refusal(seen)[1][MIRROR]


def test_the_next_mirror_is_tried_after_one_that_fails(mirror, monkeypatch, closed_port, seen):
    from torchvision.datasets import FashionMNIST

    mirror.offer()
    (working,) = FashionMNIST.mirrors
    closed = f"http://127.0.0.1:{closed_port}/"
    monkeypatch.setattr(FashionMNIST, "mirrors", [closed, working])
    assert drain(fetch(), seen.append).state == "verified"
    assert MIRROR in seen.notices[-1]


def test_a_download_of_other_images_is_refused(mirror, other_content, cache, seen):
    mirror.offer(other_content)
    reason = refusal(seen)[1][MIRROR]
    assert "not the published ones" in reason
    assert f"{IMAGES} (unpublished)" in reason
    assert whole(cache) == {}


def test_a_download_with_a_flipped_byte_is_refused(mirror, content, seen):
    content[IMAGES] = content[IMAGES][:-1] + bytes([content[IMAGES][-1] ^ 1])
    mirror.offer(content)
    assert f"{IMAGES} (damaged)" in refusal(seen)[1][MIRROR]


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
        monkeypatch.setattr(
            "torchvision.datasets.FashionMNIST.mirrors", [f"http://127.0.0.1:{port}/"]
        )
        threads.append(threading.Thread(target=serve, args=(reply,)))
        threads[0].start()

    with server:
        yield start
        over.set()
        socket.create_connection(server.getsockname()).close()  # wakes accept
        threads[0].join()


def test_a_server_that_says_nothing_is_given_up(answer_with, monkeypatch, seen):
    monkeypatch.setattr(sources, "SILENCE_SECONDS", 0.1)
    answer_with(None)
    assert "timed out" in refusal(seen)[1][MIRROR]


def test_a_server_that_does_not_speak_http_is_a_source_that_failed(answer_with, seen):
    answer_with(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert list(refusal(seen)[1]) == [DEBIAN, MIRROR, APT]


def test_a_transfer_that_breaks_off_is_a_source_that_failed(answer_with, seen):
    answer_with(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"1000\r\nonly this much"
    )
    assert list(refusal(seen)[1]) == [DEBIAN, MIRROR, APT]


# A damaged cache


def flip(path):
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [flip, lambda path: path.write_bytes(b""), cut_short], ids=["flip", "empty", "cut"]
)
def test_a_damaged_file_in_the_cache_is_named_and_replaced(
    lay, cache, debian, content, seen, damage
):
    damage(lay(cache) / IMAGES)
    lay(debian, zipped=True)
    assert drain(fetch(), seen.append).state == "verified"
    assert whole(cache) == content
    assert f"{IMAGES} is damaged" in seen.notices[0]
    assert str(cache / IMAGES) in seen.notices[0]
    assert LABELS not in seen.notices[0]


def test_a_missing_file_in_the_cache_is_replaced(lay, cache, debian, content, seen):
    (lay(cache) / LABELS).unlink()
    lay(debian, zipped=True)
    assert drain(fetch(), seen.append).state == "verified"
    assert whole(cache) == content


def test_a_damaged_gz_in_the_cache_gives_way(lay, cache, debian, seen):
    cut_short(lay(cache, zipped=True) / f"{IMAGES}.gz")
    lay(debian, zipped=True)
    assert drain(fetch(), seen.append).state == "verified"
    assert f"{IMAGES}.gz" in seen.notices[0]


def test_a_damaged_cache_stays_as_it_is_while_nothing_better_comes(lay, cache, seen):
    cut_short(lay(cache) / IMAGES)
    before = whole(cache)
    refusal(seen)
    assert whole(cache) == before


def test_other_images_in_the_cache_are_refused_and_left_alone(
    lay, cache, debian, other_content, seen
):
    """They are whole, and may be all that somebody has."""
    lay(cache, other_content)
    lay(debian, zipped=True)
    with pytest.raises(DataError, match=f"{cache}.* holds other images.*data.root=DIR"):
        drain(fetch(), seen.append)
    assert whole(cache) == other_content


# Whole or not at all


def test_an_install_that_fails_half_way_leaves_every_file_whole(
    lay, cache, debian, content, seen, monkeypatch
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
            drain(fetch(), seen.append)
    assert len(moved) == 2
    assert whole(cache) == {name: content[name] for name in {*moved, LABELS}}
    assert leftovers(cache) == []
    assert drain(fetch(), seen.append).state == "verified"


def test_a_disk_that_fills_while_unpacking_leaves_the_cache_as_it_was(
    lay, cache, debian, content, seen, monkeypatch
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
        drain(fetch(), seen.append)
    assert whole(cache) == before
    assert leftovers(cache) == []


def test_a_fetch_that_is_interrupted_leaves_nothing_behind(cache, seen, monkeypatch):
    def interrupt(staging):
        (staging / "half").write_bytes(b"half")
        yield Fetching("a source", 1, 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "SOURCES", {"a source": interrupt})
    with pytest.raises(KeyboardInterrupt):
        drain(fetch(), seen.append)
    assert whole(cache) == {}
    assert leftovers(cache) == []


def test_a_listener_that_raises_leaves_nothing_behind(mirror, cache):
    mirror.offer()

    def interrupt(event):
        if getattr(event, "received", 0) > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(fetch(), interrupt)
    assert whole(cache) == {}
    assert leftovers(cache) == []


@pytest.mark.process
def test_apt_and_what_it_started_are_ended_when_fetching_is_interrupted(apt, cache, tmp_path):
    apt.script(f"#!/bin/sh\n/bin/sleep 60 &\necho $! > {tmp_path}/started\nwait\n")

    def interrupt(event):
        if event == Activity("waiting for apt") and (tmp_path / "started").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(fetch(), interrupt)
    child = Path("/proc", (tmp_path / "started").read_text().strip(), "stat")
    for _ in range(1000):  # its new parent needs a moment to collect it
        if not child.exists() or child.read_text().split()[2] == "Z":
            break
        time.sleep(0.01)
    else:
        raise AssertionError("what apt-get had started still runs")
    assert leftovers(cache) == []


@pytest.mark.process
def test_a_command_that_takes_too_long_is_given_up(apt, monkeypatch, seen):
    monkeypatch.setattr(sources, "COMMAND_SECONDS", 0.05)
    apt.script("#!/bin/sh\nexec /bin/sleep 60\n")
    assert refusal(seen)[1][APT].startswith("apt-get took over")


def test_what_a_killed_process_left_is_cleaned_up(lay, cache, debian, seen):
    abandoned = cache.parent / f"{STAGING}abandoned"
    lay(abandoned / "unpacked")
    lay(debian, zipped=True)
    drain(fetch(), seen.append)
    assert leftovers(cache) == []


@pytest.mark.parametrize("taken", ["cache", "cache/FashionMNIST", "cache/FashionMNIST/raw"])
def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path, seen, taken):
    path = tmp_path / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"can't be written.*BNRUN_CACHE") as caught:
        drain(fetch(), seen.append)
    assert str(tmp_path / "cache") in str(caught.value)


# Two processes

PROCESS = """
    import shutil, sys, time
    from pathlib import Path
    from bnrun.data import fetch, files, sources
    from bnrun.events import drain

    name, meeting, source = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    files.FILES = {files}

    def slow(staging):
        (meeting / f"{{name}} is fetching").touch()
        for _ in range(6000):  # a minute: no test should hang for ever
            if (meeting / "go on").exists():
                return source
            time.sleep(0.01)
        yield

    sources.SOURCES = {{"a slow source": slow}}
    place = drain(fetch.fetch(), lambda event: print(event, flush=True))
    print(place.state, flush=True)
"""


@pytest.mark.process
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
            lines = [second.stdout.readline() for _ in range(2)]  # it waits, and says so
            (meeting / "go on").touch()
            assert "another process is fetching Fashion-MNIST" in lines[1]
            assert second.stdout.read().split() == ["verified"]
            assert first.stdout.read().endswith("verified\n")
    assert (first.returncode, second.returncode) == (0, 0)
    assert not (meeting / "second is fetching").exists()
    assert whole(cache) == content
    assert leftovers(cache) == []


# What is seen


def test_the_bytes_that_arrive_from_a_mirror_are_counted(mirror, monkeypatch, seen):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 10_000)
    mirror.offer()
    drain(fetch(), seen.append)
    total = sum(path.stat().st_size for path in mirror.folder.iterdir())
    received = [event.received for event in seen.fetching if event.source == MIRROR]
    assert received[0] == 0
    assert received == sorted(received)
    assert len(received) > total / 10_000
    assert received[-1] == total
    assert {event.expected for event in seen.fetching} == {sources.DOWNLOAD_BYTES}


def test_the_bytes_that_arrive_by_apt_are_counted(apt, cache, seen):
    apt.script(
        "#!/bin/sh\nexec 3> dataset-fashion-mnist_1_all.deb\nprintf 12345 >&3\n"
        f"while [ ! -e {cache.parent}/go ]; do :; done\nexit 1\n"
    )

    def go_on(event):
        seen.append(event)
        if getattr(event, "received", 0) == 5:
            (cache.parent / "go").touch()

    with pytest.raises(DataError):
        drain(fetch(), go_on)
    assert Fetching(APT, 5, sources.DOWNLOAD_BYTES) in seen


def test_fetching_writes_nothing_itself(mirror, apt, cache, seen, capfd):
    mirror.offer()
    drain(fetch(), seen.append)
    shutil.rmtree(cache.parents[1])
    cut_short(mirror.folder / f"{IMAGES}.gz")
    apt.offer(lists=False)
    drain(fetch(), seen.append)
    assert APT in seen.notices[-1]
    assert capfd.readouterr() == ("", "")


def test_the_environment_is_left_as_it_was(mirror, seen):
    mirror.offer()
    before, folder = dict(os.environ), Path.cwd()
    drain(fetch(), seen.append)
    assert dict(os.environ) == before
    assert Path.cwd() == folder


# A root of the user's


def test_a_root_is_made_and_filled_and_can_then_be_loaded(mirror, root, cache, content, seen):
    mirror.offer()
    place = drain(fetch(str(root.parents[1])), seen.append)
    assert (place.source, place.folder, place.state) == ("data.root", root, "verified")
    assert whole(root) == content
    assert f"came from {MIRROR}" in seen.notices[-1]
    assert not cache.exists()


def test_a_root_is_filled_from_bnruns_cache_where_that_has_the_images(lay, root, cache, seen):
    lay(cache)
    assert drain(fetch(str(root.parents[1])), seen.append).state == "verified"
    assert {event.source for event in seen.fetching} == {"bnrun's cache"}


def test_a_verified_root_is_left_as_it_is(lay, root, seen):
    lay(root, zipped=True)
    before = whole(root)
    assert drain(fetch(str(root.parents[1])), seen.append).state == "verified"
    assert whole(root) == before
    assert seen == []
    assert list(root.parent.iterdir()) == [root]  # no lock


def test_what_a_root_lacks_is_added_and_the_rest_left_as_it_is(lay, root, debian, content, seen):
    lay(root, zipped=True)
    (root / f"{LABELS}.gz").unlink()
    before = whole(root)
    lay(debian)
    assert drain(fetch(str(root.parents[1])), seen.append).state == "verified"
    assert whole(root) == before | {LABELS: content[LABELS]}


def test_a_damaged_file_in_a_root_is_never_replaced(lay, root, debian, seen):
    flip(lay(root) / IMAGES)
    before = whole(root)
    lay(debian)
    with pytest.raises(DataError, match=f"{IMAGES} is damaged.*move it away") as caught:
        drain(fetch(str(root.parents[1])), seen.append)
    assert f"`bnrun data fetch --root {root.parents[1]}`" in str(caught.value)
    assert whole(root) == before


def test_other_images_in_a_root_are_never_replaced_or_added_to(
    lay, root, debian, other_content, seen
):
    del other_content[LABELS]
    lay(root, other_content)
    lay(debian)
    with pytest.raises(DataError, match="holds other images.*Name another folder"):
        drain(fetch(str(root.parents[1])), seen.append)
    assert whole(root) == other_content


def test_other_files_and_folders_in_a_root_are_left_alone(lay, root, debian, seen):
    mine = root.parents[1] / "fetching-my own notes"
    mine.mkdir(parents=True)
    (mine / "a.txt").write_text("kept")
    lay(debian)
    drain(fetch(str(root.parents[1])), seen.append)
    assert (mine / "a.txt").read_text() == "kept"


def test_a_root_that_cannot_be_written_is_named(tmp_path, seen):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=f"{tmp_path / 'file' / 'x'} can't be written"):
        drain(fetch(str(tmp_path / "file" / "x")), seen.append)
    assert (tmp_path / "file").read_text() == "mine"
