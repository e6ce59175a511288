"""Findings: instance, layer and group norms, and what a norm's statistics are over.

Which dimension holds the features is known where a layer made the input: a convolution's are
dimension 1, a linear layer's the last one. Over which dimensions a norm takes its statistics is
known of PyTorch's own classes, and measured of others by their output.
"""

from collections.abc import Iterator

from bnrun.health.evidence import Evidence, Layer, NormPlace
from bnrun.health.finding import Finding, Kind, in_words

TRACKS = Kind(
    "instance-norm-tracks",
    "An instance norm keeps moving statistics",
    "track_running_stats=True in an instance norm",
)
NO_MOVING = Kind(
    "predicts-with-batch",
    "A batch norm keeps no moving statistics",
    "track_running_stats=False in a batch norm",
)
OVER_EXAMPLES = Kind(
    "over-examples",
    "A norm of single examples takes statistics over the batch",
    "a layer, group, instance or RMS norm whose output depends on other examples",
)
WRONG_AXIS = Kind(
    "wrong-axis",
    "Statistics are taken over the wrong axis",
    "the layer before puts features in one dimension, and the norm takes another for them",
)
KINDS: tuple[Kind, ...] = (OVER_EXAMPLES, WRONG_AXIS, TRACKS, NO_MOVING)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    yield from _tracking(evidence)
    yield from _without_moving(evidence)
    for norm in evidence.norms:
        axes = _axes(norm)
        if axes is None:
            continue
        if norm.kind in ("layer", "group", "instance", "rms") and 0 in axes:
            yield _over_examples(norm, axes)
        else:
            yield from _wrong_axis(evidence, norm, axes)


def _tracking(evidence: Evidence) -> Iterator[Finding]:
    many = sum(norm.kind == "instance" for norm in evidence.norms)
    tracking = [norm.name for norm in evidence.moving_norms() if norm.kind == "instance"]
    if tracking:
        yield TRACKS.finding(
            "warning",
            tracking,
            evidence=f"track_running_stats=True in {len(tracking)} of {many} instance norms",
            message="In training each example is normalized with its own statistics, in evaluation "
            "with an average over all examples: that is another function.",
            fix="nn.InstanceNorm2d(channels, affine=True)  # track_running_stats=False",
            norms=len(tracking),
        )


def _without_moving(evidence: Evidence) -> Iterator[Finding]:
    many = sum(norm.kind == "batch" for norm in evidence.norms)
    names = [
        norm.name
        for norm in evidence.norms
        if norm.kind == "batch" and norm.options.get("track_running_stats") is False
    ]
    if names:
        yield NO_MOVING.finding(
            "warning",
            names,
            evidence=f"track_running_stats=False in {len(names)} of {many} batch norms",
            message="They predict with the statistics of the batch: a prediction depends on what "
            "else is in its batch.",
            fix="track_running_stats=True, and train again",
            norms=len(names),
        )


def _axes(norm: NormPlace) -> tuple[int, ...] | None:
    """Return over which dimensions a norm takes its statistics, measured or known of its class."""
    rank = len(norm.input_shape)
    if norm.axes is not None or not norm.is_torch_class or rank < 2:
        return norm.axes
    positions = tuple(range(2, rank))
    match norm.kind:
        case "batch":
            return (0, *positions)
        case "instance":
            return positions
        case "group":
            return (1, *positions)
        case "layer" | "rms":
            shape = norm.options.get("normalized_shape")
            return tuple(range(rank - len(shape), rank)) if isinstance(shape, tuple) else None
    return None


def _over_examples(norm: NormPlace, axes: tuple[int, ...]) -> Finding:
    return OVER_EXAMPLES.finding(
        "error",
        [norm.name],
        evidence=f"its input has shape {norm.input_shape}, and its statistics are over "
        f"{_list(axes)}",
        message="A prediction depends on what else is in its batch, in evaluation, too.",
        fix=f"bnrun verify {norm.class_name.rpartition('.')[0]}:"
        f"{norm.class_name.rpartition('.')[2]}",
        axes=list(axes),
        shape=list(norm.input_shape),
    )


def _wrong_axis(evidence: Evidence, norm: NormPlace, axes: tuple[int, ...]) -> Iterator[Finding]:
    source = _maker(evidence, norm.name)
    rank = len(norm.input_shape)
    if source is None or rank < 3 or source.output_shape != norm.input_shape:
        return
    features = 1 if source.kind == "convolution" else rank - 1
    if not _is_wrong(norm, axes, features):
        return
    yield WRONG_AXIS.finding(
        "warning",
        [norm.name],
        evidence=f"{in_words(source.name, 'layer')} puts its features in dimension {features} of "
        f"{norm.input_shape}; the norm takes its statistics over {_list(axes)}",
        message=f"Dimension {rank - 1 if features == 1 else 1}, of positions, is taken for the "
        "features.",
        fix="x = self.norm(x.transpose(1, -1)).transpose(1, -1)",
        axes=list(axes),
        features=features,
        shape=list(norm.input_shape),
    )


def _is_wrong(norm: NormPlace, axes: tuple[int, ...], features: int) -> bool:
    """Return whether a norm takes another dimension for the one that holds the features."""
    match norm.kind:
        case "batch" | "instance":
            return features in axes
        case "layer" | "rms":
            return features not in axes
        case "group":  # with as many groups as channels it takes no statistics over channels
            return features != 1 if norm.is_torch_class else features not in axes
    return False


def _maker(evidence: Evidence, name: str) -> Layer | None:
    """Return the convolution or linear layer that made a layer's input, through layers between."""
    layer = evidence.layer(name)
    while layer is not None and len(layer.reads) == 1 and layer.calls == 1:
        layer = evidence.layer(layer.reads[0])
        if layer is not None and layer.kind in ("convolution", "linear"):
            return layer
        if layer is not None and layer.kind not in ("activation", "dropout"):
            return None
    return None


def _list(axes: tuple[int, ...]) -> str:
    named = ", ".join(str(axis) for axis in axes)
    return f"dimension{'s' if len(axes) > 1 else ''} {named}" if axes else "no dimension"
