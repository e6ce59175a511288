import errno
import shutil

import pytest
import torch

from bnrun.config import DataConfig
from bnrun.data.load import load
from bnrun.errors import ConfigError, DataError
from bnrun.events import drain

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"


def config_for(root, **settings):
    return DataConfig(root=str(root.parents[1]), **settings)


def holds(split, content, prefix):
    """Return whether a split equals the IDX files that it was read from, value by value."""
    images = torch.frombuffer(
        bytearray(content[f"{prefix}-images-idx3-ubyte"][16:]), dtype=torch.uint8
    )
    labels = torch.frombuffer(
        bytearray(content[f"{prefix}-labels-idx1-ubyte"][8:]), dtype=torch.uint8
    )
    return torch.equal(split.images, images.view(-1, 1, 28, 28)) and torch.equal(
        split.labels, labels.long()
    )


# What is loaded


@pytest.mark.parametrize("zipped", [False, True, (IMAGES,)], ids=["extracted", "gz", "mixed"])
def test_a_root_gives_the_images_it_holds(lay, root, content, seen, zipped):
    lay(root, zipped=zipped)
    before = sorted(path.name for path in root.iterdir())
    dataset = drain(load(config_for(root)), seen.append)
    assert holds(dataset.train, content, "train")
    assert holds(dataset.test, content, "t10k")
    used = dataset.describe()
    assert (used.name, used.verified) == ("fashion-mnist", True)
    assert used.source == f"data.root: {root}"
    assert (used.train_images, used.validation_images, used.test_images) == (300, 0, 100)
    assert seen == []
    assert sorted(path.name for path in root.iterdir()) == before  # the user's folder is theirs


def test_tensors_are_uint8_images_and_int64_labels(lay, root, seen):
    lay(root)
    dataset = drain(load(config_for(root)), seen.append)
    for split, count in ((dataset.train, 300), (dataset.test, 100)):
        assert (split.images.dtype, split.images.shape) == (torch.uint8, (count, 1, 28, 28))
        assert (split.labels.dtype, split.labels.shape) == (torch.int64, (count,))


def test_validation_images_are_held_out(lay, root, content, seen):
    lay(root)
    whole = drain(load(config_for(root)), seen.append)
    dataset, again = (drain(load(config_for(root, validation=50)), seen.append) for _ in range(2))
    assert (len(dataset.train), len(dataset.validation)) == (250, 50)
    assert torch.equal(dataset.validation.images, again.validation.images)
    together = torch.cat([dataset.train.images, dataset.validation.images])
    assert {i.numpy().tobytes() for i in together} == {
        i.numpy().tobytes() for i in whole.train.images
    }
    assert holds(dataset.test, content, "t10k")


def test_too_many_validation_images_are_refused(lay, root, seen):
    lay(root)
    with pytest.raises(ConfigError, match=r"data\.validation: received 300.*less than the 300"):
        drain(load(config_for(root, validation=300)), seen.append)


# Where it is looked for


def test_the_root_comes_before_the_cache(lay, root, cache, other_content, seen):
    lay(root, other_content)
    lay(cache)
    assert drain(load(config_for(root)), seen.append).source == f"data.root: {root}"


def test_the_cache_comes_before_the_debian_package(lay, cache, debian, content, seen):
    lay(cache)
    lay(debian, zipped=True)
    dataset = drain(load(DataConfig()), seen.append)
    assert holds(dataset.train, content, "train")
    assert dataset.source == f"bnrun's cache: {cache}"
    assert dataset.verified is True
    assert seen == []


@pytest.mark.parametrize("zipped", [False, True, (IMAGES,)], ids=["extracted", "gz", "mixed"])
def test_a_cache_may_hold_gz_files(lay, cache, content, seen, zipped):
    lay(cache, zipped=zipped)
    assert holds(drain(load(DataConfig()), seen.append).train, content, "train")


def test_a_whole_cache_need_not_be_writable(lay, cache, content, seen):
    lay(cache)
    (cache.parent / ".bnrun-fetching.lock").mkdir()  # nobody can take this lock
    assert holds(drain(load(DataConfig()), seen.append).train, content, "train")


def test_what_is_on_no_disk_is_fetched_into_the_cache(lay, cache, debian, content, seen):
    lay(debian, zipped=True)
    dataset = drain(load(DataConfig()), seen.append)
    assert holds(dataset.train, content, "train")
    assert dataset.source == f"bnrun's cache, from Debian's package, installed: {cache}"
    assert "Debian's package" in seen.notices[-1]
    seen.clear()
    drain(load(DataConfig()), seen.append)  # the second time it is there
    assert seen == []


def test_if_every_source_fails_nothing_stands_in(seen):
    with pytest.raises(DataError, match="could not be fetched"):
        drain(load(DataConfig()), seen.append)


def test_a_damaged_cache_is_replaced_and_the_notice_names_the_file(
    lay, cache, debian, content, seen
):
    content[IMAGES] = content[IMAGES][:-1]
    lay(cache, content)
    lay(debian, zipped=True)
    assert drain(load(DataConfig()), seen.append).verified is True
    assert f"{IMAGES} is damaged" in seen.notices[0]


# A root that cannot be used


@pytest.mark.parametrize("made", [None, "", "FashionMNIST/raw"], ids=["none", "empty", "no files"])
def test_a_root_that_holds_nothing_is_refused_though_the_cache_has_the_images(
    lay, tmp_path, cache, seen, made
):
    """A training must not run for ten epochs on other images than those that were named."""
    lay(cache)
    root = tmp_path / "my root"
    if made is not None:
        (root / made).mkdir(parents=True)
    with pytest.raises(DataError, match="there is no Fashion-MNIST in") as caught:
        drain(load(DataConfig(root=str(root))), seen.append)
    assert caught.value.key == "data.root"
    assert f"received '{root}'" in caught.value.reason
    assert f"`bnrun data fetch --root '{root}'` puts it there" in caught.value.reason
    assert root.exists() == (made is not None)
    assert seen == []


@pytest.mark.parametrize("inside", ["FashionMNIST", "FashionMNIST/raw"])
def test_a_root_inside_the_layout_is_refused_and_the_right_one_named(lay, root, seen, inside):
    lay(root)
    above = root.parents[1]
    with pytest.raises(DataError, match=f"Did you mean '{above}'\\?"):
        drain(load(DataConfig(root=str(above / inside))), seen.append)


def flip_a_byte(data):
    return data[:500] + bytes([data[500] ^ 1]) + data[501:]


DAMAGE = {
    "flipped": flip_a_byte,
    "truncated": lambda data: data[:-1],
    "empty": lambda data: b"",
    "not IDX": lambda data: b"<html>",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("zipped", [False, True], ids=["extracted", "gz"])
def test_a_damaged_file_in_the_root_is_named_and_refused(
    lay, root, cache, content, seen, damage, zipped
):
    lay(cache)  # a whole one elsewhere does not excuse it
    content[IMAGES] = damage(content[IMAGES])
    lay(root, content, zipped=zipped)
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    with pytest.raises(DataError, match=rf"data\.root: {IMAGES} is damaged") as caught:
        drain(load(config_for(root)), seen.append)
    assert str(root / IMAGES) in str(caught.value)
    assert "Replace the file" in str(caught.value)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


def test_a_truncated_gz_in_the_root_is_named_and_refused(lay, root, seen):
    path = lay(root, zipped=True) / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{IMAGES}.gz"):
        drain(load(config_for(root)), seen.append)


def test_an_incomplete_root_is_refused_and_the_missing_file_named(lay, root, cache, seen):
    lay(cache)
    (lay(root) / LABELS).unlink()
    with pytest.raises(DataError, match=rf"data\.root: {LABELS} is missing") as caught:
        drain(load(config_for(root)), seen.append)
    assert str(root / LABELS) in str(caught.value)


# A root with other images


def test_other_images_in_the_root_are_used_with_a_notice(lay, root, other_content, seen):
    lay(root, other_content)
    dataset = drain(load(config_for(root)), seen.append)
    assert holds(dataset.train, other_content, "train")
    assert holds(dataset.test, other_content, "t10k")
    assert dataset.describe().verified is False
    assert len(seen.notices) == 1
    assert str(root) in seen.notices[0]
    assert "other images than the published" in seen.notices[0]


def test_one_file_that_is_not_published_makes_it_unverified(
    lay, root, content, other_content, seen
):
    for name in (IMAGES, LABELS):
        content[name] = other_content[name]
    lay(root, content)
    assert drain(load(config_for(root)), seen.append).verified is False


@pytest.mark.parametrize(
    ("name", "sizes", "values", "reason"),
    [
        (LABELS, (40,), bytes(39) + b"\x0a", "label 10"),
        (LABELS, (39,), bytes(39), "40 images, but 39 labels"),
        (LABELS, (40, 1), bytes(40), "dimension"),
        (LABELS, (0,), b"", LABELS),
        (IMAGES, (40, 32, 32), bytes(40 * 32 * 32), "28 x 28"),
        (IMAGES, (40, 28, 27), bytes(40 * 28 * 27), "28 x 28"),
        (IMAGES, (40, 784), bytes(40 * 784), "dimension"),
        (IMAGES, (40 * 784,), bytes(40 * 784), "dimension"),
        (IMAGES, (0, 28, 28), b"", IMAGES),
        (TEST_IMAGES, (0, 28, 28), b"", TEST_IMAGES),
        (TEST_IMAGES, (21, 28, 28), bytes(21 * 784), "21 images, but 20 labels"),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_sound_files_that_cannot_be_trained_on_are_refused(
    lay, root, other_content, idx, seen, name, sizes, values, reason
):
    other_content[name] = idx(sizes, values)
    lay(root, other_content)
    with pytest.raises(DataError, match=reason) as caught:
        drain(load(config_for(root)), seen.append)
    assert name.split("-")[0] in str(caught.value)
    assert caught.value.key == "data.root"


def test_no_images_at_all_are_refused(lay, root, other_content, idx, seen):
    other_content |= {IMAGES: idx((0, 28, 28), b""), LABELS: idx((0,), b"")}
    lay(root, other_content)
    with pytest.raises(DataError, match=IMAGES):
        drain(load(config_for(root)), seen.append)


def test_a_full_disk_while_a_gz_root_is_unpacked_is_a_data_error(lay, root, seen, monkeypatch):
    lay(root, zipped=True)

    def fill_the_disk(source, target, length=0):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fill_the_disk)
    with pytest.raises(DataError, match="No space left on device"):
        drain(load(config_for(root)), seen.append)
