"""Which layer made a norm's input: what is found of structure hangs on it."""

import contextlib
import operator
from collections.abc import Callable

import pytest
import torch
from ill_networks import Siamese, small
from torch import Tensor, nn

from bnrun.events import drain
from bnrun.health.audit import audit_model
from bnrun.health.evidence import Evidence
from bnrun.health.finding import Finding


class Reads(nn.Module):
    """A linear layer, a change of its output, and a norm."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change = change
        self.fc = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if self.change == "sum in place":
            y += x
        if self.change == "transposed":
            y = y.transpose(1, 2)
        return self.norm(y)


def audited(model: nn.Module, *shape: int) -> tuple[Evidence, tuple[Finding, ...]]:
    audit, _ = drain(audit_model(model, [torch.rand(16, *shape)]))
    return audit.evidence, audit.findings


def reads(change: str, *shape: int) -> tuple[str, ...]:
    evidence, _ = audited(Reads(change), *shape)
    layer = evidence.layer("norm")
    assert layer is not None
    return layer.reads


def test_an_output_as_it_is_is_of_its_layer() -> None:
    assert reads("", 6) == ("fc",)


def test_an_output_that_was_written_into_is_of_no_layer() -> None:
    assert reads("sum in place", 6) == ()


def test_a_transposed_output_is_of_no_layer() -> None:
    """Else a norm that is put right by a transposition would look as if over the wrong axis."""
    assert reads("", 6, 6) == ("fc",)
    assert reads("transposed", 6, 6) == ()


class Residual(nn.Module):
    """A norm that a function follows, which reads the layer before it in some way."""

    def __init__(self, read: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.fc, self.norm, self.read = nn.Linear(6, 6), nn.BatchNorm1d(6), read

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        z = self.norm(y)
        found = self.read(y)
        return z.relu() + found if isinstance(found, Tensor) else z.relu()


@pytest.mark.parametrize(
    ("read", "is_useless"),
    [
        (lambda y: y.shape[0], True),
        (lambda y: y.view(-1).shape, True),
        (lambda y: y * 2, False),
        (lambda y: y.t().sum(), False),
    ],
)
def test_a_bias_that_a_function_reads_too_does_something(
    read: Callable[[Tensor], object], is_useless: bool
) -> None:
    _, findings = audited(Residual(read), 6)
    assert ("bias-before-norm" in {one.id for one in findings}) == is_useless


class Branched(nn.Module):
    """A norm, and something else that reads the layer before it."""

    def __init__(self, rest: Callable[["Branched", Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.norm, self.rest = nn.Linear(6, 6), nn.BatchNorm1d(6), rest
        self.relu, self.soft = nn.ReLU(inplace=True), nn.Softmax(1)
        self.narrow, self.last = nn.Linear(3, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return self.rest(self, y, self.norm(y))


def written_into_by_a_layer(net: Branched, y: Tensor, z: Tensor) -> Tensor:
    return net.relu(y).mul(z)


def read_after_a_layer_has_raised(net: Branched, y: Tensor, z: Tensor) -> Tensor:
    with contextlib.suppress(RuntimeError):
        net.narrow(y)
    return z + y


def not_read_but_by_a_layer_that_raises(net: Branched, y: Tensor, z: Tensor) -> Tensor:
    with contextlib.suppress(RuntimeError):
        net.narrow(y)
    return net.last(z)


@pytest.mark.parametrize(
    ("rest", "is_useless"),
    [
        (lambda net, y, z: operator.iadd(y, z), False),
        (lambda net, y, z: operator.iadd(y[:, :3], z[:, :3]), False),
        (lambda net, y, z: torch.add(y, z, out=y), False),
        (written_into_by_a_layer, False),
        (lambda net, y, z: z.relu() + net.narrow(y.chunk(2, 1)[0]), False),
        (lambda net, y, z: z.relu() + net.soft(y.t()).t(), False),
        (lambda net, y, z: (z.relu(), y[:, :1]), False),
        (read_after_a_layer_has_raised, False),
        (not_read_but_by_a_layer_that_raises, True),
    ],
)
def test_a_bias_that_anything_else_reads_does_something(
    rest: Callable[[Branched, Tensor, Tensor], Tensor], is_useless: bool
) -> None:
    _, findings = audited(Branched(rest), 6)
    assert ("bias-before-norm" in {one.id for one in findings}) == is_useless


def test_a_layer_that_writes_into_its_input_reads_it() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.BatchNorm1d(6))
    evidence, _ = audited(model, 6)
    assert [layer.reads for layer in evidence.layers] == [(), ("0",), ("1",)]


@pytest.mark.parametrize("shape", [(6, 8), (8,), (1, 8)])
def test_a_layer_norm_of_alike_sequences_is_over_no_examples(shape: tuple[int, ...]) -> None:
    """Values that are normalized already fit more than one set of dimensions."""
    alike = nn.functional.layer_norm(torch.rand(1, *shape).expand(16, *shape).clone(), (8,))
    for norm in (nn.LayerNorm(8), OwnLayerNorm(8)):
        model = nn.Sequential(nn.Identity(), norm, nn.Linear(8, 3))
        audit, _ = drain(audit_model(model, [alike, alike.roll(1, 0)]))
        assert audit.findings == ()


class OwnLayerNorm(nn.LayerNorm):
    """A class that is measured: it is not PyTorch's."""


def test_a_frozen_batch_norm_is_no_fault() -> None:
    from torchvision.ops.misc import FrozenBatchNorm2d  # to import it takes two seconds

    model = small()
    model.norm1 = FrozenBatchNorm2d(8)
    model.norm1.load_state_dict(model.norm2.state_dict())
    _, findings = audited(model, 1, 8, 8)
    assert "norm1" not in {name for one in findings if one.id != "stale" for name in one.layers}


def test_calls_of_a_shared_norm_are_counted() -> None:
    evidence, _ = audited(Siamese(lambda x: x), 1, 8, 8)
    assert [norm.calls for norm in evidence.norms] == [2]
