"""Kernels are enabled for a block and a thread, and called only with arguments that fit."""

import ctypes
import re
import subprocess
import threading

import pytest
import torch

from bnrun import kernels
from bnrun.kernels import build, dispatch
from bnrun.kernels.compiler import compiler_command
from bnrun.kernels.dispatch import SIGNATURES, call, supports


def test_outside_a_block_of_enabled_nothing_is_supported() -> None:
    assert not supports(torch.zeros(1))


def test_blocks_may_lie_in_one_another(enabled: None) -> None:
    with kernels.disabled():
        assert not kernels.is_enabled()
        with kernels.enabled():
            assert kernels.is_enabled()
        assert not kernels.is_enabled()
    assert kernels.is_enabled()


def test_another_thread_has_a_switch_of_its_own(enabled: None) -> None:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(kernels.is_enabled()))
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_backward_pass_outside_the_block_is_the_kernels(compilable: None) -> None:
    """What was computed by kernels is differentiated by them, wherever backward() is called."""
    x = torch.randn(4, 1, 28, 28, requires_grad=True)
    weight, bias = torch.randn(6, 1, 5, 5, requires_grad=True), torch.randn(6, requires_grad=True)
    gamma = torch.ones(6, requires_grad=True)
    gradients = []
    for inside in (True, False):
        with kernels.enabled():
            y, _, _ = kernels.batch_norm(
                kernels.conv2d(x, weight, bias), gamma, None, None, None, momentum=0.1, eps=1e-5
            )
            loss = kernels.sigmoid_average_pool(y).square().sum() + kernels.max_pool(y).sum()
            if inside:
                loss.backward()
        if not inside:
            before = kernels.calls()
            loss.backward()
            assert kernels.calls() - before == 4  # one for each layer
        leaves = (x, weight, bias, gamma)
        gradients.append([leaf.grad for leaf in leaves])
        for leaf in leaves:
            leaf.grad = None
    assert all(map(torch.equal, *gradients))


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            {0: torch.zeros(2, 6, 24, 24, dtype=torch.float64)},
            "expected a contiguous torch.float32",
        ),
        ({0: torch.zeros(2, 6, 24, 24).transpose(2, 3)}, "expected a contiguous"),
        ({1: None}, "expected a contiguous"),
        ({2: 1.5}, "wrong type"),
    ],
)
def test_a_kernel_refuses_arguments_of_other_types(change: dict[int, object], error: str) -> None:
    arguments = [torch.zeros(2, 6, 24, 24), torch.zeros(2, 6, 12, 12), 12]
    call("sigmoid_average_pool_24", *arguments)
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises((TypeError, ctypes.ArgumentError), match=error):
        call("sigmoid_average_pool_24", *arguments)


@pytest.mark.parametrize("count", [2, 4])
def test_a_kernel_refuses_another_number_of_arguments(enabled: None, count: int) -> None:
    arguments = [torch.zeros(2, 6, 24, 24), torch.zeros(2, 6, 12, 12), 12, 12]
    with pytest.raises(TypeError, match=f"takes 3 arguments, got {count}"):
        call("sigmoid_average_pool_24", *arguments[:count])


C_TYPES = {
    "const float *": torch.float32,
    "float *": torch.float32,
    "double *": torch.float64,
    "const long *": torch.int64,
    "const double *": torch.float64,
    "const unsigned char *": torch.uint8,
    "Layer *": dispatch._TENSORS,
    "int": ctypes.c_int,
    "long": ctypes.c_long,
    "double": ctypes.c_double,
}


def test_the_signatures_are_those_of_the_c_functions(compilable: None) -> None:
    """As the compiler sees them: with every macro expanded."""
    source = subprocess.run(
        [*compiler_command(), "-std=c++17", "-E", "-P", build.SOURCE / "kernels.cpp"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    declared = {}
    for name, parameters in re.findall(r'extern "C" void (\w+)\(([^)]*)\) {', source):
        *types, threads = (re.sub(r"\w+$", "", p).strip() for p in parameters.split(","))
        assert threads in ("int", "")  # unnamed where it is not used
        declared[name] = [C_TYPES[" ".join(kind.split())] for kind in types]
    assert declared == {
        name: [getattr(kind, "dtype", kind) for kind in signature]
        for name, signature in SIGNATURES.items()
    }
