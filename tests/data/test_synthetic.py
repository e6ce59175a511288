import pytest
import torch

from bnrun.config import DataConfig
from bnrun.data.load import load
from bnrun.data.synthetic import _generate, synthetic
from bnrun.errors import DataError
from bnrun.events import DataUsed, drain


@pytest.fixture(scope="module")
def dataset():
    return synthetic()


def test_it_is_the_same_each_time(dataset):
    torch.manual_seed(1)
    again = _generate(4_000, 1_000)
    for one, other in ((dataset.train, again.train), (dataset.test, again.test)):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_it_has_the_shapes_of_the_real_data(dataset):
    for split, count in ((dataset.train, 4_000), (dataset.test, 1_000)):
        assert split.images.dtype == torch.uint8
        assert split.images.shape == (count, 1, 28, 28)
        assert split.labels.dtype == torch.int64
        assert split.labels.shape == (count,)


def test_it_has_ten_classes_none_of_them_rare(dataset):
    for split in (dataset.train, dataset.test):
        counts = torch.bincount(split.labels)
        assert len(counts) == 10
        assert counts.min() > len(split) / 20


def test_its_classes_can_be_learned_from_training_images(dataset):
    """The nearest class mean beats chance by far, on images that it was not made from."""
    train, test = dataset.train, dataset.test
    means = torch.stack(
        [train.images[train.labels == c].float().mean(0).flatten() for c in range(10)]
    )
    nearest = torch.cdist(test.images.float().flatten(1), means).argmin(1)
    assert (nearest == test.labels).float().mean() > 0.5


def test_no_training_image_is_a_test_image(dataset):
    train = {image.numpy().tobytes() for image in dataset.train.images}
    assert not any(image.numpy().tobytes() in train for image in dataset.test.images)


def test_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    _generate(10, 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_says_that_it_is_synthetic(seen):
    used = drain(load(DataConfig(name="synthetic", validation=100)), seen.append).describe()
    assert used == DataUsed("synthetic", "generated", None, 3_900, 100, 1_000)
    assert seen == []  # nothing was looked for or fetched


def test_it_is_never_chosen_silently(seen):
    assert DataConfig().name == "fashion-mnist"
    with pytest.raises(DataError, match=r"data\.name=synthetic"):  # every source fails
        drain(load(DataConfig()), seen.append)
