import gzip

import pytest

from bnrun.data import files

IMAGES = "train-images-idx3-ubyte"
LABELS = "t10k-labels-idx1-ubyte"


def states(folder):
    return {report.name: report.state for report in files.inspect(folder)}


def report_on(folder, name):
    return next(report for report in files.inspect(folder) if report.name == name)


def test_the_published_sizes_are_those_of_fashion_mnist(monkeypatch):
    monkeypatch.undo()  # the real table
    assert {name: published.size for name, published in files.FILES.items()} == {
        "train-images-idx3-ubyte": 16 + 60_000 * 784,
        "train-labels-idx1-ubyte": 8 + 60_000,
        "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
        "t10k-labels-idx1-ubyte": 8 + 10_000,
    }
    assert [published.sha256[:8] for published in files.FILES.values()] == [
        "c59f468a",
        "bad3541b",
        "5b4141f0",
        "0402a96d",
    ]
    assert all(len(published.sha256) == 64 for published in files.FILES.values())


@pytest.mark.parametrize("zipped", [False, True, (IMAGES,)], ids=["extracted", "gz", "mixed"])
def test_the_published_bytes_are_verified(tmp_path, lay, zipped):
    assert set(states(lay(tmp_path / "raw", zipped=zipped)).values()) == {"verified"}


def test_other_gzip_settings_do_not_matter(tmp_path, lay, content):
    folder = lay(tmp_path / "raw")
    (folder / LABELS).unlink()
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(content[LABELS], 9, mtime=1))
    assert states(folder)[LABELS] == "verified"


def test_sound_files_of_another_size_are_unpublished(tmp_path, lay, other_content):
    folder = lay(tmp_path / "raw", other_content)
    assert set(states(folder).values()) == {"unpublished"}


def test_a_missing_file_is_reported_with_both_names(tmp_path, lay):
    folder = lay(tmp_path / "raw")
    (folder / LABELS).unlink()
    report = report_on(folder, LABELS)
    assert report.state == "missing"
    assert str(folder / LABELS) in report.reason
    assert f"{LABELS}.gz" in report.reason
    assert states(folder)[IMAGES] == "verified"


def test_an_absent_folder_misses_all_four(tmp_path):
    assert set(states(tmp_path / "nothing").values()) == {"missing"}


def flip_a_byte(data):
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


DAMAGE = {
    "flipped": (flip_a_byte, "SHA-256"),
    "truncated": (lambda data: data[:-1], "header says 235,216"),
    "too long": (lambda data: data + b"\0", "header says 235,216"),
    "empty": (lambda data: b"", "header"),
    "not IDX": (lambda data: b"<html>404 Not Found</html>", "header"),
    "of floats": (lambda data: b"\0\0\x0d\x03" + data[4:] + b"\0", "header is not"),
    "of rank 7": (lambda data: b"\0\0\x08\x07" + data[4:1000], "header"),
    "header cut short": (lambda data: data[:6], "header"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("zipped", [False, True], ids=["extracted", "gz"])
def test_a_damaged_file_is_named_with_the_reason(tmp_path, lay, content, damage, reason, zipped):
    content[IMAGES] = damage(content[IMAGES])
    folder = lay(tmp_path / "raw", content, zipped=zipped)
    report = report_on(folder, IMAGES)
    assert report.state == "damaged"
    assert reason in report.reason
    assert str(folder / IMAGES) in report.reason
    assert states(folder)[LABELS] == "verified"


def cut(zipped):
    return zipped[: len(zipped) // 2]


def spoil_crc(zipped):
    return zipped[:-8] + bytes([zipped[-8] ^ 1]) + zipped[-7:]


def spoil_deflate(zipped):
    return zipped[:20] + b"\xff" * 20 + zipped[40:]


BAD_GZIP = {"cut short": cut, "bad CRC": spoil_crc, "bad deflate": spoil_deflate}
BAD_GZIP["not gzip"] = lambda zipped: b"<html>"


@pytest.mark.parametrize("damage", BAD_GZIP.values(), ids=BAD_GZIP)
def test_a_damaged_gz_is_damaged_and_cannot_be_unpacked(tmp_path, lay, damage):
    folder, into = lay(tmp_path / "raw", zipped=True), tmp_path / "into"
    into.mkdir()
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    report = report_on(folder, IMAGES)
    assert report.state == "damaged"
    assert str(path) in report.reason
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz is damaged"):
        files.unpack(folder, into)


def test_a_folder_in_a_files_place_is_damage(tmp_path, lay):
    folder = lay(tmp_path / "raw")
    (folder / LABELS).unlink()
    (folder / LABELS).mkdir()
    assert report_on(folder, LABELS).state == "damaged"


def test_an_extracted_file_is_taken_before_its_gz(tmp_path, lay, content):
    folder = lay(tmp_path / "raw")
    (folder / f"{LABELS}.gz").write_bytes(b"junk")
    assert states(folder)[LABELS] == "verified"
    assert not files.is_zipped(folder)


@pytest.mark.parametrize("zipped", [False, True, (IMAGES,)], ids=["extracted", "gz", "mixed"])
def test_unpacking_gives_the_extracted_bytes(tmp_path, lay, content, zipped):
    folder, into = lay(tmp_path / "raw", zipped=zipped), tmp_path / "into"
    into.mkdir()
    files.unpack(folder, into)
    assert {path.name: path.read_bytes() for path in into.iterdir()} == content
    assert files.is_zipped(folder) == bool(zipped)


def test_unpacking_names_a_missing_file(tmp_path, lay):
    folder, into = lay(tmp_path / "raw"), tmp_path / "into"
    into.mkdir()
    (folder / LABELS).unlink()
    with pytest.raises(ValueError, match=f"{LABELS} is missing in .*raw"):
        files.unpack(folder, into)
