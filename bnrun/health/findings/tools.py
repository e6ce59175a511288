"""Findings: norms that torch's tools do not see.

`nn.SyncBatchNorm.convert_sync_batchnorm`, `torch.optim.swa_utils.update_bn` and fvcore's precise BN
look for instances of `torch.nn.modules.batchnorm._BatchNorm`. They pass over any other class
without a word, and the first of them replaces a subclass by its own.
"""

from collections.abc import Iterator, Sequence

from bnrun.health.evidence import Evidence, NormPlace
from bnrun.health.finding import Finding, Kind

BASE = "_BatchNorm"
SYNC = "SyncBatchNorm"

UNSEEN = Kind(
    "unseen-by-tools",
    "PyTorch's tools pass over an own class of norm",
    f"moving statistics in a class that is not derived from {BASE}",
    ("never-updated",),
)
REPLACED = Kind(
    "replaced-by-sync",
    "convert_sync_batchnorm replaces a subclass",
    f"a class derived from {BASE} that is not PyTorch's",
)
KINDS: tuple[Kind, ...] = (UNSEEN, REPLACED)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    norms = evidence.moving_norms()
    own = [norm for norm in norms if not norm.is_torch_class and norm.is_meant_to_move]
    unseen = [norm for norm in own if BASE not in norm.bases and norm.kind != "instance"]
    if unseen:
        yield UNSEEN.finding(
            "note",
            (norm.name for norm in unseen),
            evidence=f"{_classes(unseen)} is not derived from nn.modules.batchnorm.{BASE}",
            message="convert_sync_batchnorm, swa_utils.update_bn and precise-BN code pass over it "
            "without a word.",
            fix="bnrun audit … --recalibrate FILE in place of update_bn; is the class right? "
            f"bnrun verify {_target(unseen[0])}",
            norms=len(unseen),
        )
    replaced = [norm for norm in own if BASE in norm.bases and SYNC not in norm.bases]
    if replaced:
        yield REPLACED.finding(
            "note",
            (norm.name for norm in replaced),
            evidence=f"{_classes(replaced)} is derived from nn.modules.batchnorm.{BASE}",
            message="nn.SyncBatchNorm.convert_sync_batchnorm replaces it by nn.SyncBatchNorm "
            "without a word: what its forward does differently is lost.",
            fix="convert the network first, and put these layers in afterwards",
            norms=len(replaced),
        )


def _classes(norms: Sequence[NormPlace]) -> str:
    return ", ".join(dict.fromkeys(norm.class_name.rpartition(".")[2] for norm in norms))


def _target(norm: NormPlace) -> str:
    """Return the class as `bnrun verify` takes it."""
    module, _, name = norm.class_name.rpartition(".")
    return f"{module}:{name}" if module else name
