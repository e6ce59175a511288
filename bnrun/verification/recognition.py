"""Which family a norm is of, and how its layers are built: from its name, and from evidence.

The name of a class says what it is meant to be. What one value of its output depends on says what
it is: over which dimensions its statistics are taken. Where the two differ, that is a finding.
"""

import contextlib
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from bnrun.norms.options import PLACE
from bnrun.verification.fault import FAMILIES, Family
from bnrun.verification.situations import GROUPS, plain
from bnrun.verification.subject import Construction, Record, Subject

NAMES: dict[Family, str] = {
    "batch": r"(?i:batch_?norm)|BN",
    "layer": r"(?i:layer_?norm)|LN",
    "group": r"(?i:group_?norm)|GN",
    "instance": r"(?i:instance_?norm)",
    "rms": r"RMS|Rms|(^|_)rms",
}
"""What the names of classes contain; of several, the first in the name decides."""

WIDE = 64
"""Channels for a class with a number of groups of its own, such as 32."""
GROUP_COUNT = r"(?i)(num_?|n_?)?groups?(_?(num|count))?|g"
"""Names of parameters that take the number of groups."""
RANK_WORDS = ("dim", "rank", "nd")
"""Parts of the names of parameters that are meant for the rank."""
AFFINE = ("affine", "elementwise_affine")
LABELS: dict[Family, str] = {
    "batch": "batch normalization",
    "layer": "layer normalization",
    "group": "group normalization",
    "instance": "instance normalization",
    "rms": "RMS normalization",
}
MEASURED_AS: Family = "group"
"""The family whose inputs are taken to find out which one it is: they have the most channels."""
MEASURED_RANKS = (4, 3, 5, 2)
SHIFT = 2.5
"""What is added to a whole input: where the mean is subtracted, that changes nothing."""
CHANGE = 1e-6
"""The least change of an output that is not rounding."""

Extent = Literal["none", "some", "all"]


@dataclass(frozen=True)
class Dependence:
    """What one value of the output depends on, beside the input's value at its own place.

    Attributes:
        rank: of the input.
        batch: whether on other examples.
        channels: on which of the other channels of its position.
        positions: along which dimensions of the positions.
        shifts: whether the output changes when a number is added to the whole input.
        sharing: how many channels of its position it depends on, its own among them.
    """

    rank: int
    batch: bool
    channels: Extent
    positions: Extent
    shifts: bool
    sharing: int = 1

    @property
    def family(self) -> Family | None:
        """Return the family whose statistics these are; None where they are of none."""
        match self.batch, self.channels, self.positions:
            case True, "none", "all":
                return "batch"
            case False, "none", "all":
                return "instance"
            case False, "some", "all":
                return "group"
            case False, "all", "none" | "all":
                return "rms" if self.shifts else "layer"
        return None

    def groups(self, channels: int) -> int:
        """Return into how many groups like its own the channels are cut."""
        return channels // self.sharing

    @property
    def words(self) -> str:
        """Return the places of other values that it depends on, in words."""
        channels = {"none": "", "some": "some channels", "all": "all channels"}[self.channels]
        positions = {"none": "", "some": "some positions", "all": "all positions"}[self.positions]
        places = [channels, positions, "other examples" if self.batch else ""]
        return ", ".join(place for place in places if place) or "nothing else"


Measured = tuple[Construction, Dependence]


@dataclass(frozen=True)
class Recognition(Record):
    """A construction, and a sentence on how its family was recognized; "" where it was named."""

    construction: Construction
    sentence: str = ""


def family_named(name: str) -> Family | None:
    """Return the family that the name of a norm or of a class says; None if it says none."""
    if name in FAMILIES:
        return next(family for family in FAMILIES if family == name)
    found = {family: re.search(words, name) for family, words in NAMES.items()}
    starts = {family: match.start() for family, match in found.items() if match is not None}
    return min(starts, key=lambda family: starts[family], default=None)


def constructions(
    target: Callable[..., Any], options: Mapping[str, Any], family: Family | None
) -> list[Construction]:
    """Return the ways in which a class may want to be built, the likeliest first.

    Args:
        target: the class, or what builds it.
        options: arguments that the user gives.
        family: of norms, if it is known.
    """
    if family == "batch":
        return [Construction()]
    parameters = _parameters(target)
    fixed: dict[str, Any] = {}
    groups = next((name for name in parameters if re.fullmatch(GROUP_COUNT, name)), None)
    count = 0  # which may be fixed inside of the class
    if groups is not None and groups in options:
        count = options[groups] if isinstance(options[groups], int) else GROUPS
    elif groups is not None:
        fixed[groups] = count = GROUPS
    for name in AFFINE:
        if name in parameters and parameters[name].default is False and name not in options:
            fixed[name] = True
    usual = Construction(family or "batch", options=tuple(fixed.items()), groups=count)
    ways = [usual, dataclasses.replace(usual, as_shape=True)]
    required = [name for name, p in parameters.items() if p.default is p.empty and name != groups]
    required = [name for name in required if name not in options]
    if groups is None and len(required) == 2 and family in (None, "group"):
        counts = [
            dataclasses.replace(usual, options=(*usual.options, (name, GROUPS)), groups=GROUPS)
            for name in required[::-1]
            if name not in PLACE and not any(word in name.lower() for word in RANK_WORDS)
        ]
        ways = [*counts, *ways]  # otherwise the rank of the input would be taken for a count
    if count == 0 and family in (None, "group"):
        ways.append(dataclasses.replace(usual, width=WIDE))
    return ways


def affine_option(target: Callable[..., Any], given: Mapping[str, Any]) -> bool | None:
    """Return whether a constructor is asked for gamma and beta; None where it has no such option.

    Args:
        target: the class, or what builds it.
        given: options by name; others have their defaults.
    """
    parameters = _parameters(target)
    for name in AFFINE:
        if name in given:
            return bool(given[name])
        if name in parameters and parameters[name].default is not inspect.Parameter.empty:
            return bool(parameters[name].default)
    return None


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor by name; none where they are unknown."""
    with contextlib.suppress(ValueError, TypeError):
        taken = inspect.signature(target).parameters
        return {
            name: p for name, p in taken.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
    return {}


def recognize(
    name: str,
    family: Family | None,
    ways: Sequence[Construction],
    built: Callable[[Construction], Subject],
) -> Recognition:
    """Return the construction of a norm: of the family that is given, named or measured.

    Args:
        name: of the norm or its class.
        family: if the user named one.
        ways: in which the class may want to be built.
        built: returns the subject of a construction.
    """
    wanted = family or family_named(name)
    if wanted == "batch" or (wanted is None and _keep_statistics(map(built, ways))):
        return Recognition(Construction())
    seen = list(_measured(ways, built))
    if wanted is not None:
        construction = _of_family(wanted, ways, seen)
        return Recognition(construction, "" if family else _by_name(construction, seen))
    for _, dependence in seen:
        if dependence.family == "batch":
            break
        if dependence.family is not None:
            return Recognition(
                _of_family(dependence.family, ways, seen),
                f"Judged as {LABELS[dependence.family]}: a value of its output depends on "
                f"{dependence.words}.",
            )
    return Recognition(Construction())


def _keep_statistics(subjects: Iterable[Subject]) -> bool:
    """Return whether layers have moving statistics: batch norms have, where no name says more."""
    for subject in subjects:
        with contextlib.suppress(Exception):  # it wants to be built otherwise
            return bool(subject.build(subject.construction.ranks[0]).statistics)
    return False


def _by_name(construction: Construction, seen: Sequence[Measured]) -> str:
    """Return how a family was recognized by its name, with what was seen of it."""
    words = [dependence.words for one, dependence in seen if _is_alike(one, construction)]
    depends = f"; a value of its output depends on {words[0]}" if words else ""
    return f"Judged as {LABELS[construction.family]}, as its name says{depends}."


def _is_alike(one: Construction, other: Construction) -> bool:
    """Return whether both build layers in the same way, for inputs in the same layout."""
    return (one.last, one.as_shape, one.options) == (other.last, other.as_shape, other.options)


def _of_family(
    family: Family, ways: Sequence[Construction], seen: Sequence[Measured]
) -> Construction:
    """Return the construction that fits a family best: of the right statistics, or of any."""
    by_last = family in ("layer", "rms")
    kinds = {"layer": ("layer", "rms"), "rms": ("layer", "rms")}.get(family, (family,))

    def misfit(measured: Measured) -> tuple[bool | int, ...]:
        one, dependence = measured
        is_whole = one.last and by_last and dependence.positions == "all"
        strange = dependence.family not in kinds or is_whole
        return strange, -dependence.rank, one.last != by_last

    # For inputs of (N, C), both layouts are one.
    seen = [measured for measured in seen if measured[1].rank > 2] or seen
    usual = (dataclasses.replace(ways[0], last=by_last), None)
    first, dependence = min(seen, key=misfit, default=usual)
    groups = first.groups
    if groups == 0:  # so it is fixed inside of the class, or there is none
        is_group = dependence is not None and dependence.channels == "some"
        groups = dependence.groups(first.channels) if dependence and is_group else GROUPS
    rank = dependence.rank if dependence is not None else first.rank
    return dataclasses.replace(first, family=family, groups=groups, rank=rank)


def _measured(
    ways: Sequence[Construction], built: Callable[[Construction], Subject]
) -> Iterator[Measured]:
    """Yield the layouts in which the first way that works does, with what an output depends on."""
    for one in ways:
        works = False
        for last in (False, True):
            tried = dataclasses.replace(one, family=MEASURED_AS, last=last)
            subject = built(tried)
            for rank in MEASURED_RANKS:
                try:
                    yield tried, _dependence(subject, rank)
                except Exception:  # it wants to be built otherwise, or other inputs
                    continue
                works = True
                break
        if works:
            return


def _dependence(subject: Subject, rank: int) -> Dependence:
    """Return what the first value of an output depends on, in training."""
    situation = plain(rank, subject.dtype, **subject.construction.inputs)
    x = situation.x
    layer = subject.build(rank, situation)

    def value(x: Tensor) -> float:
        return float(
            layer.record(layer.forward(layer.own(x), training=True, grad=False)).flatten()[0]
        )

    usual = value(x)

    def depends(*places: slice | int) -> bool:
        """Return whether a change of the values at some places changes the first one's output."""
        changed = x.clone()
        changed[places] = 1.5 * changed[places] + 0.25
        return abs(value(changed) - usual) > CHANGE

    others = slice(1, None)
    channels = [depends(0, channel, *[0] * (rank - 2)) for channel in range(1, x.shape[1])]
    positions = [
        depends(0, 0, *(others if dim == along else 0 for dim in range(2, rank)))
        for along in range(2, rank)
    ]
    return Dependence(
        rank,
        depends(others, 0, *[0] * (rank - 2)),
        _extent(channels),
        _extent(positions),
        abs(value(x + SHIFT) - usual) > CHANGE,
        1 + sum(channels),
    )


def _extent(depends: Sequence[bool]) -> Extent:
    if not any(depends):
        return "none"
    return "all" if all(depends) else "some"
