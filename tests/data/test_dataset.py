import pytest
import torch

from bnrun.data.dataset import Dataset, Split, image_order
from bnrun.errors import ConfigError

COUNT = 103


def numbered(count):
    """A split whose labels say which image is which: image i is filled with i."""
    index = torch.arange(count)
    images = index.to(torch.uint8).view(-1, 1, 1, 1).expand(count, 1, 28, 28).contiguous()
    return Split(images, index)


@pytest.fixture
def dataset():
    return Dataset(numbered(COUNT), numbered(20), "fashion-mnist", "a test", verified=False)


def test_batches_without_an_order_are_the_images_as_they_lie():
    split = numbered(COUNT)
    labels = [labels for _, labels in split.batches(25)]
    assert torch.equal(torch.cat(labels), split.labels)
    assert [len(batch) for batch in labels] == [25, 25, 25, 25, 3]


def test_batches_follow_the_order_and_keep_the_last_smaller_one():
    order = image_order(seed=0, epoch=1, count=COUNT)
    batches = list(numbered(COUNT).batches(25, order))
    assert torch.equal(torch.cat([labels for _, labels in batches]), order)
    assert [len(labels) for _, labels in batches] == [25, 25, 25, 25, 3]
    assert [tuple(images.shape) for images, _ in batches][-1] == (3, 1, 28, 28)


def test_every_image_comes_once_with_its_own_label():
    order = image_order(seed=3, epoch=2, count=COUNT)
    seen = []
    for images, labels in numbered(COUNT).batches(10, order):
        assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), labels)
        seen += labels.tolist()
    assert sorted(seen) == list(range(COUNT))


@pytest.mark.parametrize("batch_size", [COUNT, 1000])
def test_a_batch_size_beyond_the_images_gives_them_all_at_once(batch_size):
    assert [len(labels) for _, labels in numbered(COUNT).batches(batch_size)] == [COUNT]


@pytest.mark.parametrize("ordered", [False, True])
def test_a_batch_equals_torchvisions_to_tensor_bit_for_bit(ordered):
    from torchvision.transforms import ToTensor
    from torchvision.transforms.functional import to_pil_image

    pixels = torch.arange(784).remainder(256).to(torch.uint8)
    images = torch.stack([pixels, pixels.flip(0), torch.full((784,), 255).byte()])
    split = Split(images.view(3, 1, 28, 28), torch.tensor([0, 1, 2]))
    order = torch.tensor([2, 0, 1]) if ordered else torch.arange(3)
    expected = torch.stack([ToTensor()(to_pil_image(split.images[i])) for i in order])
    (batch, labels) = next(iter(split.batches(3, order if ordered else None)))
    assert batch.dtype == torch.float32
    assert batch.min() == 0
    assert batch.max() == 1
    assert torch.equal(batch, expected)
    assert torch.equal(labels, order)


def test_taking_batches_leaves_the_images_as_they_were():
    split = numbered(COUNT)
    before = split.images.clone()
    for images, _ in split.batches(10):
        images.zero_()
    assert torch.equal(split.images, before)


def test_an_image_order_is_a_permutation_of_its_seed_and_epoch():
    order = image_order(seed=1, epoch=2, count=500)
    assert torch.equal(order.sort().values, torch.arange(500))
    assert torch.equal(order, image_order(seed=1, epoch=2, count=500))
    assert not torch.equal(order, image_order(seed=1, epoch=3, count=500))
    assert not torch.equal(order, image_order(seed=2, epoch=2, count=500))
    assert not torch.equal(order, torch.arange(500))


def test_image_orders_of_any_two_seeds_differ():
    seeds = (0, 1, 2, 4095, 4096, 8192, 2**16, 2**20, 2**31, 2**32 - 1)  # all that config allows
    epochs = (1, 2, 10)
    orders = {tuple(image_order(s, e, 200).tolist()) for s in seeds for e in epochs}
    assert len(orders) == len(seeds) * len(epochs)


def test_an_image_order_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = image_order(seed=0, epoch=1, count=50)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(image_order(seed=0, epoch=1, count=50), first)


def test_held_out_images_are_the_same_each_time_and_no_others(dataset):
    held = dataset.hold_out(30)
    torch.manual_seed(9)
    again = dataset.hold_out(30)
    assert torch.equal(held.validation.labels, again.validation.labels)
    assert torch.equal(held.train.labels, again.train.labels)
    assert (len(held.train), len(held.validation), len(held.test)) == (COUNT - 30, 30, 20)
    together = torch.cat([held.train.labels, held.validation.labels])
    assert torch.equal(together.sort().values, torch.arange(COUNT))
    for split in (held.train, held.validation):
        assert torch.equal(split.images[:, 0, 0, 0].long(), split.labels)


def test_held_out_images_are_not_just_the_first_or_last(dataset):
    held = dataset.hold_out(30).validation.labels.sort().values
    assert not torch.equal(held, torch.arange(30))
    assert not torch.equal(held, torch.arange(COUNT - 30, COUNT))


def test_holding_out_leaves_the_global_random_state_alone(dataset):
    before = torch.get_rng_state()
    dataset.hold_out(30)
    assert torch.equal(torch.get_rng_state(), before)


def test_holding_out_nothing_changes_nothing(dataset):
    assert dataset.hold_out(0) is dataset
    assert dataset.validation is None


@pytest.mark.parametrize("count", [COUNT, COUNT + 1])
def test_holding_out_every_image_is_refused(dataset, count):
    with pytest.raises(ConfigError, match=rf"data\.validation: received {count}.* {COUNT} "):
        dataset.hold_out(count)
    assert len(dataset.hold_out(COUNT - 1).train) == 1


def test_kept_images_are_the_first_ones_that_are_not_held_out(dataset):
    held = dataset.hold_out(30)
    kept = held.keep(7)
    assert torch.equal(kept.train.labels, held.train.labels[:7])
    assert torch.equal(kept.train.images[:, 0, 0, 0].long(), kept.train.labels)
    assert (kept.validation, kept.test) == (held.validation, held.test)
    assert dataset.keep(None) is dataset


def test_more_images_than_there_are_is_refused(dataset):
    held = dataset.hold_out(30)
    assert len(held.keep(COUNT - 30).train) == COUNT - 30
    message = "data.images: received 74; it must be at most 73, .* besides the 30 held out"
    with pytest.raises(ConfigError, match=message):
        held.keep(COUNT - 29)


def test_a_dataset_moves_whole(dataset):
    moved = dataset.hold_out(30).to(torch.device("meta"))
    for split in (moved.train, moved.validation, moved.test):
        assert split.images.device.type == split.labels.device.type == "meta"
    assert dataset.to(torch.device("cpu")).validation is None


def test_the_record_counts_each_split(dataset):
    used = dataset.hold_out(30).describe()
    assert (used.train_images, used.validation_images, used.test_images) == (COUNT - 30, 30, 20)
    assert (used.name, used.source, used.verified) == ("fashion-mnist", "a test", False)
    assert dataset.describe().validation_images == 0
