import pytest
import torch

from bnrun.errors import DeviceError
from bnrun.training.device import deterministic, device_name, pick_device


def test_a_device_that_is_not_here_is_named_with_those_that_are() -> None:
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(DeviceError, match=f"received '{absent}'.*Here: .*cpu"):
        pick_device(absent)


@pytest.mark.parametrize(
    ("gpus", "mps", "best"), [(2, False, "cuda:0"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_the_best_that_is_here(
    monkeypatch: pytest.MonkeyPatch, gpus: int, mps: bool, best: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert str(pick_device("auto")) == best


def test_cuda_is_the_first_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(pick_device("cuda")) == "cuda:0"
    assert str(pick_device("cuda:1")) == "cuda:1"


def test_the_cpu_is_named_with_its_threads() -> None:
    assert f"{torch.get_num_threads()} thread" in device_name(torch.device("cpu"))


def test_deterministic_algorithms_are_on_only_inside() -> None:
    with deterministic(torch.device("cpu"), enabled=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(torch.device("cpu"), enabled=False):
        assert not torch.are_deterministic_algorithms_enabled()
