"""Each case of `bench --kernels` is a kernel, and PyTorch's operation that does the same work."""

import pytest
import torch
from torch import Tensor

from bnrun import kernels
from bnrun.benchmark import kernel_cases
from bnrun.benchmark.kernel_cases import CASES, FLOAT_BYTES, Job, KernelCase

IMAGES = 16
ARITHMETIC = [case for case in CASES if case.unit == "FLOP"]


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cases, "TRAINING_IMAGES", 20)


def _name(case: KernelCase) -> str:
    return case.name


def _values(job: Job) -> list[Tensor]:
    output = job.run()
    if not job.leaves:
        return [output]
    slope = torch.rand(output.shape, generator=torch.Generator().manual_seed(1))
    return [output, *torch.autograd.grad(output, job.leaves, slope)]


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_both_sides_compute_the_same(case: KernelCase, compilable: None) -> None:
    with kernels.enabled():
        before = kernels.calls()
        ours = _values(case.prepare("kernel", IMAGES))
        assert kernels.calls() > before
    with kernels.disabled():
        before = kernels.calls()
        theirs = _values(case.prepare("torch", IMAGES))
        assert kernels.calls() == before
    assert (len(ours) > 1) == (case.backward is not None)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", ARITHMETIC, ids=_name)
def test_the_work_is_counted_as_torch_counts_it(case: KernelCase) -> None:
    from torch.utils.flop_counter import FlopCounterMode  # which imports Triton

    job = case.prepare("torch", IMAGES)
    with FlopCounterMode(display=False) as counter:
        output = job.run()
        assert counter.get_total_flops() == IMAGES * case.forward
        if job.leaves:
            torch.autograd.grad(output, job.leaves, torch.ones_like(output))
    assert counter.get_total_flops() == IMAGES * (case.forward + (case.backward or 0))


def test_bytes_are_those_of_inputs_and_outputs() -> None:
    found = {case.name: (case.forward, case.backward) for case in CASES}
    image, pooled = FLOAT_BYTES * 6 * 24 * 24, FLOAT_BYTES * 6 * 12 * 12
    assert found["norm1"] == (2 * image, 3 * image)  # x, y; x, g, dx
    assert found["max pool 1"] == (image + pooled, 2 * image + pooled)
    assert found["image batch"] == (784 + FLOAT_BYTES * 784, None)  # a byte becomes a float
