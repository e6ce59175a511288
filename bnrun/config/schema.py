"""The schema of a config: every key with its type, range, default, and a sentence on it.

The defaults are the main job: the textbook's recipe with norm `scratch`. They equal
`configs/lenet_bn.yaml`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bnrun.config import yaml_text
from bnrun.config.norm_call import norm_call, parse_norm_call

Statistics = Literal["moving", "population", "batch"]
STATISTICS: tuple[Statistics, ...] = get_args(Statistics)

SEED_LIMIT = 2**32
"""Seeds are below this: torch's generator on the CPU takes 32 bits."""

NormPlace = Literal[1, 2, 3, 4]
NORM_PLACES: tuple[NormPlace, ...] = get_args(NormPlace)
"""The places of LeNet that a norm may stand at, `norm1` to `norm4` in the network."""

NormPosition = Literal["before", "after"]

Probe = Literal["activations", "gradients", "updates", "landscape", "shift", "shadow"]
PROBES: tuple[Probe, ...] = get_args(Probe)
"""The instruments of `bnrun.training.probes`."""


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _is_plain(value: Any) -> bool:
    """Return whether a value is a finite number, a boolean, text, None, or a list of these."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | str) or _is_finite(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


class NormSource(NamedTuple):
    """Where the class of a norm is loaded from.

    `norm` says where it is. `copy` is a file to import in place of the one that `norm` names.
    `notice` is what the user was told of it.
    """

    norm: str
    copy: str | None = None
    notice: str | None = None


class ModelConfig(_Section):
    """LeNet, and what can be varied in it."""

    norm: Annotated[str, Field(min_length=1)] = "scratch"
    """A name from bnrun norms, or a user's own: path/to/file.py:Class."""
    norm_options: dict[str, Any] = {}  # pydantic gives each config a copy of its own
    """Arguments for the norm's constructor; in short: builtin(momentum=0.01) as the norm."""
    pool: Literal["avg", "max"] = "avg"
    """Pooling after each of the two convolutions, 2x2 with stride 2."""
    activation: Literal["sigmoid", "relu"] = "sigmoid"
    """The nonlinearity after each convolution and hidden linear layer."""
    norm_places: Annotated[tuple[NormPlace, ...], Field(min_length=1, strict=False)] = NORM_PLACES
    """Where the norm stands: 1 and 2 at the convolutions, 3 and 4 at the hidden linear layers."""
    norm_position: NormPosition = "before"
    """Whether the norm stands before or after the activation; pooling follows both."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability of dropout after each hidden linear layer, its norm and its activation."""
    weight_scale: Annotated[float, Field(gt=0)] = 1.0
    """A factor for the initial weights of convolutions and linear layers; not for biases."""
    weights: Literal["plain", "standardized", "normalized"] = "plain"
    """Whether the weights of all layers but the last are normalized, too (bnrun norms)."""

    _norm_source: NormSource | None = PrivateAttr(None)  # no part of the config's values

    @property
    def norm_source(self) -> NormSource:
        """Return where to load the norm from: what `norm` says, unless `with_norm_source` did."""
        return self._norm_source or NormSource(self.norm)

    @property
    def norm_call(self) -> str:
        """Return the norm with its options, as one may write it: `builtin(momentum=0.01)`."""
        return norm_call(self.norm, self.norm_options)

    @model_validator(mode="before")
    @classmethod
    def _split_norm_call(cls, values: Any) -> Any:
        """Split a norm that is written with its options."""
        norm = values.get("norm") if isinstance(values, dict) else None
        if not isinstance(norm, str):
            return values
        norm, options = parse_norm_call(norm, "model.norm")
        return {**values, "norm": norm} | ({} if options is None else {"norm_options": options})

    @field_validator("norm_options", mode="before")
    @classmethod
    def _norm_options_are_plain(cls, options: Any) -> Any:
        is_plain = isinstance(options, dict) and all(
            isinstance(name, str) and name.isidentifier() and _is_plain(value)
            for name, value in options.items()
        )
        if not is_plain:
            raise PydanticCustomError("norm_options", "")
        return options

    @field_validator("norm_places", mode="before")
    @classmethod
    def _number_norm_places(cls, places: Any) -> Any:
        """Replace the names of places in the network, norm1 to norm4, by their numbers."""
        if not isinstance(places, list | tuple):
            return places
        numbers = {f"norm{place}": place for place in NORM_PLACES}
        return [numbers.get(one, one) if isinstance(one, str) else one for one in places]

    @field_validator("norm_places")
    @classmethod
    def _sort_norm_places(cls, places: tuple[NormPlace, ...]) -> tuple[NormPlace, ...]:
        """Return the places in order, each once: equal choices are equal configs."""
        return tuple(place for place in NORM_PLACES if place in places)


class DataConfig(_Section):
    """Which images to train on, and where they are."""

    name: Literal["fashion-mnist", "synthetic"] = "fashion-mnist"
    """Real images; or `synthetic`, a small generated stand-in for work without any data."""
    root: str | None = None
    """A folder with the images in ROOT/FashionMNIST/raw; null means bnrun's own copy."""
    validation: Annotated[int, Field(ge=0)] = 0
    """How many training images to hold out and report on: the same ones for every seed."""
    images: Annotated[int | None, Field(ge=1)] = None
    """How many of the other training images to train on: the first ones; null means all."""


class OptimizerConfig(_Section):
    """Stochastic gradient descent."""

    lr: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate; with schedule one-cycle, the highest one."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The optimizer's momentum (not a norm's)."""
    nesterov: bool = False
    """Nesterov's form of momentum; needs momentum above 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """L2 penalty on every parameter."""
    schedule: Literal["constant", "one-cycle"] = "constant"
    """How the learning rate changes over the run."""

    @field_validator("nesterov")
    @classmethod
    def _nesterov_needs_momentum(cls, nesterov: bool, info: Any) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("momentum is 0")
        return nesterov


class TrainingConfig(_Section):
    """The loop."""

    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=1)] = 256
    """Images per step; the last, smaller batch of an epoch is kept."""
    norm_batch: Annotated[int | None, Field(ge=1)] = None
    """How many images are normalized together in training; null means the whole batch."""
    norm_statistics: Literal["synced", "local"] = "synced"
    """Of several processes: whether they normalize a batch together, or each its share of it."""
    seed: Annotated[int, Field(ge=0, lt=SEED_LIMIT)] = 0
    """Seed of the initial weights and of the order of the images."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:(0|[1-9]\d{0,2}))?)$")] = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes the first of cuda, mps and cpu that is here."""
    deterministic: bool = False
    """Repeatable to the bit where torch can be; a run says where it cannot."""
    evaluate: Annotated[tuple[Statistics, ...], Field(min_length=1, strict=False)] = ("moving",)
    """What norms predict with after each epoch: moving (always), population, batch statistics."""
    population_images: Annotated[int, Field(ge=2)] = 10_000
    """How many training images population statistics are computed from: the first ones."""
    keep_every: Annotated[int, Field(ge=0)] = 0
    """Keep the checkpoint of every N-th epoch beside the last one; 0 keeps only the last one."""
    probe: Annotated[tuple[Probe, ...], Field(strict=False)] = ()
    """What to record of each layer while training; it changes nothing in the training."""
    probe_every: Annotated[int, Field(ge=1)] = 20
    """After how many steps probes look at the network again."""
    engine: Literal["auto", "eager", "compiled"] = "auto"
    """How training steps are executed; auto times the others, takes the faster and says so."""


class Config(_Section):
    """The whole config of one training."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    def to_dict(self) -> dict[str, Any]:
        """Return the config as nested dicts of plain values, as YAML and JSON hold it."""
        return self.model_dump(mode="json")

    def with_training(self, **values: Any) -> "Config":
        """Return the config with other values, which must be valid, in its section `training`."""
        return self.model_copy(update={"training": self.training.model_copy(update=values)})

    def with_norm_source(self, source: NormSource) -> "Config":
        """Return the config with another place to load its norm from, such as a run's copy."""
        model = self.model.model_copy()
        model._norm_source = source
        return self.model_copy(update={"model": model})

    def yaml(self) -> str:
        """Return the config as YAML that `resolve` reads back to an equal config."""
        return yaml_text.dump(self.to_dict())


SECTIONS: Mapping[str, type[BaseModel]] = {
    name: type(section.default) for name, section in Config.model_fields.items()
}
KEYS = tuple(f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields)
