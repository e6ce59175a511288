"""Findings: weights that do not fit the network."""

from collections.abc import Iterator, Sequence

from bnrun.health.evidence import Evidence
from bnrun.health.finding import RECALIBRATE, Finding, Kind
from bnrun.norms.introspection import MOVING_MEAN, MOVING_VAR

SHOWN = 3
"""Keys that are named; more are counted."""
COUNTER = "num_batches_tracked"
"""The count of a norm's batches, which files of before 2018 lack, and few networks use."""

WEIGHTS_MISSING = Kind(
    "weights-missing",
    "The file lacks weights of the network",
    "any parameter or buffer of the network without a tensor of its shape in the file",
)
STATISTICS_MISSING = Kind(
    "statistics-missing",
    "The file lacks moving statistics",
    "any moving mean or variance of the network that is not in the file",
    ("weights-missing",),
)
WEIGHTS_UNEXPECTED = Kind(
    "weights-unexpected",
    "The file has weights that the network lacks",
    "any tensor in the file that has no place in the network",
    ("weights-missing",),
)
KINDS: tuple[Kind, ...] = (WEIGHTS_MISSING, STATISTICS_MISSING, WEIGHTS_UNEXPECTED)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    loading = evidence.loading
    missing = [name for name in loading.missing if not name.endswith(COUNTER)]
    statistics = [name for name in missing if _leaf(name) in MOVING_MEAN + MOVING_VAR]
    weights = [name for name in missing if name not in statistics]
    lost = [*weights, *loading.mismatched]
    if lost:
        wrong = f"{len(loading.mismatched)} of another shape" if loading.mismatched else ""
        absent = f"{len(weights)} missing" if weights else ""
        yield WEIGHTS_MISSING.finding(
            "error",
            _modules(lost),
            evidence=f"{' and '.join(filter(None, [absent, wrong]))}: {_some(lost)}",
            message=f"These are still as the network was built: {loading.file} is of another one.",
            fix="model.load_state_dict(state) without strict=False says the same",
            missing=len(weights),
            mismatched=len(loading.mismatched),
        )
    if statistics:
        yield STATISTICS_MISSING.finding(
            "error",
            _modules(statistics),
            evidence=f"{len(statistics)} missing: {_some(statistics)}",
            message="It was saved from parameters(), or from a network that keeps them in plain "
            "attributes; strict=False hides that.",
            fix=f"torch.save(model.state_dict(), FILE); for this file, {RECALIBRATE}",
            missing=len(statistics),
        )
    unexpected = [name for name in loading.unexpected if not name.endswith(COUNTER)]
    if unexpected:
        yield WEIGHTS_UNEXPECTED.finding(
            "warning",
            _modules(unexpected),
            evidence=f"{len(unexpected)} of them: {_some(unexpected)}",
            message="They were left out: the file is of a larger network, or names differ.",
            fix="build the network that was trained, with the same arguments",
            unexpected=len(unexpected),
        )


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _modules(names: Sequence[str]) -> list[str]:
    """Return the layers that keys of a state belong to."""
    return list(dict.fromkeys(name.partition(":")[0].rpartition(".")[0] for name in names))


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
