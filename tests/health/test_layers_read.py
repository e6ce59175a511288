"""Which layer made a norm's input: what is found of structure hangs on it."""

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
