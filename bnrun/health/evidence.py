"""What was observed of a network: its norms, its layers, its forward passes and its outputs.

All records are frozen. Statistics are in float64, on the CPU, of shape (C,). Everything that a
finding says comes from here, so a test may build an `Evidence` by hand.

The passes over the same batches, by the name of their mode:

    moving      as the network predicts: model.eval()
    training    as it trains: model.train(), with each batch's statistics and with dropout
    batch       model.eval(), but norms that keep moving statistics use those of each batch, unless
                they are of a single value
    population  model.eval(), with exact statistics over all batches in place of the moving ones
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, stack

Mode = Literal["moving", "training", "batch", "population"]
MODES: tuple[Mode, ...] = ("moving", "training", "batch", "population")
NormKind = Literal["batch", "layer", "group", "instance", "rms", "unknown"]
"""What a norm is meant to be, by its class and the name of it; `unknown` where they do not say."""
LayerKind = Literal["norm", "convolution", "linear", "dropout", "activation", "other"]
Home = Literal["buffer", "parameter", "attribute"]


class Record:
    """A record that crosses from a worker's process; `Record.__subclasses__()` lists all."""


@dataclass(frozen=True)
class Statistics(Record):
    """Mean and variance by channel, each of shape (C,).

    `count` is how many values per channel they are over. The variance divides by the count.
    """

    count: int
    mean: Tensor
    var: Tensor


@dataclass(frozen=True)
class CallStatistics(Record):
    """The input statistics of one call of a norm.

    `batch` is the index of the batch, `call` counts the calls within that forward pass, from 0.
    """

    batch: int
    call: int
    statistics: Statistics


@dataclass(frozen=True)
class Seen(Record):
    """What went into a norm in the passes of one mode, over all batches.

    Attributes:
        input: statistics of all its inputs, merged with counts.
        calls: those of each call.
    """

    input: Statistics
    calls: tuple[CallStatistics, ...]

    @property
    def averaged(self) -> Statistics:
        """Return what a long moving average comes to: the mean of each call's statistics.

        The variances are the unbiased ones, as PyTorch's norms average them. Calls of one value per
        channel, which have none, are left out.
        """
        calls = [one.statistics for one in self.calls if one.statistics.count > 1]
        if not calls:
            return self.input
        mean = stack([one.mean for one in calls]).mean(0)
        var = stack([one.var * (one.count / (one.count - 1)) for one in calls]).mean(0)
        return Statistics(self.input.count, mean, var)


@dataclass(frozen=True)
class NormPlace(Record):
    """One norm of the network, as it was given and as the passes saw it.

    Attributes:
        name: its path in the network, such as `layer1.0.bn1`; of several, the first.
        other_names: further paths of the same module.
        kind: of norm.
        class_name: such as `torch.nn.modules.batchnorm.BatchNorm2d`.
        bases: names of its class and of all base classes, without modules.
        channels: values per channel vector.
        options: its plain attributes (numbers, booleans, text, tuples of these) by name: `affine`,
            `num_groups`, `normalized_shape`, `track_running_stats`, …
        momentum: PyTorch's, the weight of the new batch; None for a cumulative average, or where
            the norm has none (`has_momentum`).
        eps: None where it has none.
        batches_tracked: `num_batches_tracked`; None where the norm does not count.
        gamma, beta, moving_mean, moving_var: float64, shape (C,); None where it has none.
        statistics_home: where the moving statistics are kept; None without any.
        dtypes: of `gamma`, `beta`, `moving_mean`, `moving_var`, by these names: "float32".
        gamma_learns, beta_learns: `requires_grad`; None where it has none.
        training: its mode, as the network was given.
        training_after_train, training_after_eval: its mode after the network's `train()`, `eval()`.
        training_after_pass: its mode after the network's `eval()` and a forward pass.
        takes_batch_after_eval: whether a forward pass after the network's `eval()` calls a batch
            norm function with training=True on its γ, β or moving statistics.
        alone_apart: how far its output for one example alone, after the network's `eval()`, lies
            from that within a batch, in the output's deviations; 0 where that was not looked for:
            what PyTorch's own classes do is seen by the functions that they call. Of a norm that
            is not called, and whose γ or β a function reads, it is the network's output.
        calls: how often one forward pass calls it; 0 where it is not reached, or without data.
        is_called: whether any pass, in evaluation or in training, calls it; True where that is not
            known.
        is_read: whether a function of a forward pass is given its moving statistics.
        input_shape: of its first call; () where it was not called.
        axes: over which dimensions of the input its statistics are taken in training, by its
            output; None where that was not found, or was not looked for: PyTorch's own classes say
            it. With groups, those of the group count too.
        groups: into how many groups of channels it was seen to cut; 1 without groups.
        seen: by mode, what went into it. Norms without moving statistics are not followed.
        dropout_before: names of the layers that drop values (p > 0) and run before it.
        non_finite: how many values of its input and of its output were not finite, `moving`.
    """

    name: str
    kind: NormKind
    class_name: str
    bases: tuple[str, ...]
    channels: int
    other_names: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    momentum: float | None = None
    has_momentum: bool = False
    eps: float | None = None
    batches_tracked: int | None = None
    gamma: Tensor | None = None
    beta: Tensor | None = None
    moving_mean: Tensor | None = None
    moving_var: Tensor | None = None
    statistics_home: Home | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    gamma_learns: bool | None = None
    beta_learns: bool | None = None
    training: bool = True
    training_after_train: bool = True
    training_after_eval: bool = False
    training_after_pass: bool = False
    takes_batch_after_eval: bool = False
    alone_apart: float = 0.0
    calls: int = 0
    is_called: bool = True
    is_read: bool = False
    input_shape: tuple[int, ...] = ()
    axes: tuple[int, ...] | None = None
    groups: int = 1
    seen: Mapping[Mode, Seen] = field(default_factory=dict)
    dropout_before: tuple[str, ...] = ()
    non_finite: tuple[int, int] = (0, 0)

    @property
    def keeps_moving(self) -> bool:
        """Return whether it keeps moving statistics."""
        return self.moving_mean is not None and self.moving_var is not None

    @property
    def trained(self) -> Seen | None:
        """Return what goes into it in training; where that raised, with batch statistics."""
        return self.seen.get("training") or self.seen.get("batch")

    @property
    def is_torch_class(self) -> bool:
        """Return whether its class is one of PyTorch's own, and not derived from it."""
        return self.class_name.startswith("torch.")

    @property
    def is_meant_to_move(self) -> bool:
        """Return whether it is meant to move statistics; a FrozenBatchNorm has buffers only."""
        learns = bool(self.gamma_learns or self.beta_learns)
        return self.has_momentum or self.batches_tracked is not None or learns

    def values_per_channel(self, examples: int) -> int:
        """Return from how many values per channel a batch of so many examples takes statistics."""
        if not self.input_shape or not self.input_shape[0]:
            return 0
        count = examples
        for size in self.input_shape[2:]:
            count *= size
        return count


@dataclass(frozen=True)
class Layer(Record):
    """A layer without sublayers that hold parameters, in the order of the first calls.

    Attributes:
        name, class_name: as in `NormPlace`.
        kind: what it is.
        has_bias: whether it has a `bias` that is not None.
        dropout: the probability that a dropout layer drops with; 0 for other layers.
        reads: names of the layers whose output it was given as it is; what functions between
            layers make (a sum, `F.relu`) is of no layer, except views of an output.
        is_output: whether its output is, as it is, an output of the network.
        is_read_otherwise: whether a function between layers (a sum, `F.relu`) reads its output, or
            a layer or the caller gets a part of it, or all of it in another order.
        learns: whether any parameter of its own has `requires_grad`.
        training_after_train, training_after_eval: its mode after the network's `train()`, `eval()`.
        calls: how often one forward pass calls it.
        output_shape: of its first call; () where that is no tensor.
        finite: whether all values of its outputs were finite, in mode `moving`.
    """

    name: str
    class_name: str
    kind: LayerKind
    has_bias: bool = False
    dropout: float = 0.0
    reads: tuple[str, ...] = ()
    is_output: bool = False
    is_read_otherwise: bool = False
    learns: bool = False
    training_after_train: bool = True
    training_after_eval: bool = False
    calls: int = 1
    output_shape: tuple[int, ...] = ()
    finite: bool = True


@dataclass(frozen=True)
class Outputs(Record):
    """The network's outputs by mode, over the batches that count for them.

    Attributes:
        accuracies: fractions of right classes; empty without targets.
        distances: root mean square of the outputs' differences from mode `moving`, in units of the
            standard deviation of the outputs of that mode.
        drift: by norm, in the network's order: the same distance for the norm's own output, between
            moving and population statistics.
        examples: how many examples they are over.
        classes: how many classes the outputs tell apart; 0 where that is not known.
    """

    accuracies: Mapping[Mode, float] = field(default_factory=dict)
    distances: Mapping[Mode, float] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)
    examples: int = 0
    classes: int = 0


@dataclass(frozen=True)
class Raised(Record):
    """A pass that raised: in which mode and at which batch, with its examples; by which layer."""

    mode: Mode
    batch: int
    examples: int
    layer: str
    message: str


@dataclass(frozen=True)
class Trial(Record):
    """How the first norms fit their moving statistics with inputs changed in some way.

    Attributes:
        change: what was done to the inputs, as a line of code: "x / 255".
        norm: the first norm that keeps moving statistics.
        distance: how far its moving statistics then lie from those of its input, see `distance`.
    """

    change: str
    norm: str
    distance: float


@dataclass(frozen=True)
class Loading(Record):
    """What loading the weights gave.

    Attributes:
        file: the file; "" where no weights were given.
        unwrapped: wrappers that were taken off, in order: `state_dict`, `module.`, `ema`.
        missing, unexpected: keys of the network that the file lacks, and keys that it has beyond.
        mismatched: keys with another shape there, as "key: (64,) for (128,)".
        others: further copies of the weights in the file that were not taken, such as `model`.
        weight_decay: by parameter's name, from an optimizer's state in the file, or one that was
            given; empty without an optimizer.
    """

    file: str = ""
    unwrapped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    weight_decay: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence(Record):
    """All that was observed of a network.

    Attributes:
        network: what the user calls it.
        norms: in the order in which a forward pass reaches them; without data, in that of the
            modules.
        layers: in the order of the first calls; empty without data.
        batches: the examples of each batch that was read, in order.
        ended: whether the data ended there; False where it was cut off, or there was none.
        outputs: how predictions differ.
        raised: passes that raised.
        trials: of changed inputs, where the first norm's statistics do not fit.
        loading: of weights.
        steps: of training that were taken, as the user says.
        parameters: how many numbers the network learns.
        passes: how many times all batches went through the network.
    """

    network: str
    norms: tuple[NormPlace, ...]
    layers: tuple[Layer, ...] = ()
    batches: tuple[int, ...] = ()
    ended: bool = False
    outputs: Outputs = field(default_factory=Outputs)
    raised: tuple[Raised, ...] = ()
    trials: tuple[Trial, ...] = ()
    loading: Loading = field(default_factory=Loading)
    steps: int | None = None
    parameters: int = 0
    passes: int = 0

    @property
    def has_data(self) -> bool:
        """Return whether any batch was read."""
        return bool(self.batches)

    def moving_norms(self) -> Iterator[NormPlace]:
        """Yield the norms that keep moving statistics."""
        return (norm for norm in self.norms if norm.keeps_moving)

    def layer(self, name: str) -> Layer | None:
        """Return the layer of a name, where a forward pass called it."""
        return next((layer for layer in self.layers if layer.name == name), None)


def distance(moving: Statistics | NormPlace, population: Statistics, eps: float = 1e-5) -> Tensor:
    """Return by channel how far moving statistics lie from population ones, shape (C,).

    It is |moving mean - mean| / sqrt(var + eps), in units of the population's deviation, and
    |log(moving deviation / deviation)|, whichever is larger: 0.1 is a tenth of a deviation.
    """
    if isinstance(moving, NormPlace):
        assert moving.moving_mean is not None
        assert moving.moving_var is not None
        mean, var = moving.moving_mean, moving.moving_var
    else:
        mean, var = moving.mean, moving.var
    deviation = (population.var + eps).sqrt()
    shift = (mean - population.mean).abs() / deviation
    scale = ((var + eps) / (population.var + eps)).log().abs() / 2
    return shift.maximum(scale)
