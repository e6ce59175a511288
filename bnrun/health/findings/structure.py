"""Findings: where norms stand: biases before them, two in a row, at the end; weight decay."""

from collections.abc import Iterator

from bnrun.health.evidence import Evidence, Layer, NormPlace
from bnrun.health.finding import Finding, Kind, in_words
from bnrun.norms.introspection import BETA, GAMMA

USELESS_BIAS = Kind(
    "bias-before-norm",
    "A bias before a norm does nothing",
    "a norm that subtracts each channel's mean reads a layer with a bias, and no other layer or "
    "function reads it",
)
TWO_NORMS = Kind(
    "two-norms", "Two norms stand in a row", "a norm reads the output of a norm, as it is"
)
AT_THE_END = Kind(
    "norm-at-the-end",
    "A norm stands after the last linear layer",
    "a batch norm reads a linear layer or convolution, and its output is the network's",
)
WEIGHT_DECAY = Kind(
    "weight-decay-on-norms",
    "Weight decay pulls γ and β to 0",
    "the optimizer's weight decay of γ or β is above 0",
)
KINDS: tuple[Kind, ...] = (TWO_NORMS, AT_THE_END, USELESS_BIAS, WEIGHT_DECAY)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    sources = {norm.name: _source(evidence, norm) for norm in evidence.norms}
    yield from _two_norms(evidence, sources)
    yield from _at_the_end(evidence, sources)
    yield from _useless_bias(evidence, sources)
    yield from _weight_decay(evidence)


def _source(evidence: Evidence, norm: NormPlace) -> Layer | None:
    """Return the one layer whose output a norm is given as it is."""
    layer = evidence.layer(norm.name)
    if layer is None or len(layer.reads) != 1 or norm.calls != 1:
        return None
    return evidence.layer(layer.reads[0])


def _two_norms(evidence: Evidence, sources: dict[str, Layer | None]) -> Iterator[Finding]:
    for norm in evidence.norms:
        source = sources[norm.name]
        if source is None or source.kind != "norm":
            continue
        yield TWO_NORMS.finding(
            "warning" if norm.kind == "batch" else "note",
            [source.name, norm.name],
            evidence=f"{in_words(norm.name)} reads the output of {in_words(source.name)} as it is",
            message="What is normalized already is normalized again: the second one undoes the "
            "first one's γ and β.",
            fix=f"delete one of them, such as {in_words(norm.name)}",
        )


def _at_the_end(evidence: Evidence, sources: dict[str, Layer | None]) -> Iterator[Finding]:
    for norm in evidence.norms:
        layer, source = evidence.layer(norm.name), sources[norm.name]
        if norm.kind != "batch" or layer is None or not layer.is_output or source is None:
            continue
        if source.kind not in ("linear", "convolution"):
            continue
        yield AT_THE_END.finding(
            "warning" if evidence.outputs.classes else "note",
            [norm.name],
            evidence=f"the network's output is that of {in_words(norm.name)}, which reads "
            f"{in_words(source.name, 'layer')}",
            message="The outputs' mean and spread over a batch are fixed to β and γ: the "
            "network cannot say that a whole batch is of one class.",
            fix=f"delete {in_words(norm.name)}, and give {in_words(source.name, 'layer')} its bias",
        )


def _useless_bias(evidence: Evidence, sources: dict[str, Layer | None]) -> Iterator[Finding]:
    hit: dict[str, str] = {}
    for norm in evidence.norms:
        source = sources[norm.name]
        if norm.kind not in ("batch", "instance") or not norm.training_after_train:
            continue
        if source is None or not source.has_bias or not _is_by_channel(norm, source):
            continue
        if source.is_output or source.is_read_otherwise or source.calls != 1:
            continue
        if [norm.name] == [one.name for one in evidence.layers if source.name in one.reads]:
            hit[source.name] = norm.name
    if hit:
        first, norm_name = next(iter(hit.items()))
        yield USELESS_BIAS.finding(
            "note",
            hit,
            evidence=f"layers with a bias that a norm subtracts with the mean: {len(hit)}, first "
            f"{in_words(first, 'layer')} before {in_words(norm_name)}",
            message="Its gradient is 0: it costs memory and time, and β does its work.",
            fix="bias=False in these layers",
            layers_with_bias=len(hit),
        )


def _is_by_channel(norm: NormPlace, source: Layer) -> bool:
    """Return whether a layer has one bias for each channel of the norm after it."""
    return source.kind == "convolution" or (source.kind == "linear" and len(norm.input_shape) == 2)


def _weight_decay(evidence: Evidence) -> Iterator[Finding]:
    decays = {
        norm.name: decay
        for norm in evidence.norms
        for name in (*GAMMA, *BETA)
        if (decay := evidence.loading.weight_decay.get(f"{norm.name}.{name}", 0.0)) > 0
    }
    if decays:
        largest = max(decays.values())
        yield WEIGHT_DECAY.finding(
            "note",
            decays,
            evidence=f"the optimizer's weight decay of their γ or β is up to {largest:g}",
            message="Weight decay of γ shrinks the layer's output. Many recipes leave norms "
            "and biases out of it.",
            fix="a parameter group of their own for γ and β: "
            '{"params": norm_parameters, "weight_decay": 0.0}',
            weight_decay=largest,
        )
