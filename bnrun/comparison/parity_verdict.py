"""How closely two arms agree, and whether that makes them the same function.

Two right implementations of one formula differ by rounding; a fault makes more. How much more than
rounding counts is decided here; `parity.py` measures.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from bnrun.comparison.arm_words import in_words, listed

FLOAT64_ROUNDING = 1e-8
"""Difference in float64 up to which arms agree: over 30 steps, rounding ends near 1e-12."""

FLOAT32_ROUNDING = {"loss": 5e-6, "weight": 2e-5, "moving": 5e-6, "prediction": 5e-5}
"""Differences in float32 up to which arms agree, after one step from the same state.

Measured with `scratch` and `builtin` on both engines, on Fashion-MNIST and generated images, with
both activations and both kinds of pooling: at most 5e-7 in loss, 3e-6 in weights (median over the
steps), 2e-7 in moving statistics and 3e-6 in logits. An eps of 1e-3 in place of 1e-5 makes at least
1e-3, 2e-4, 7e-4 and 2e-2.
"""

TF32_FACTOR = 100
"""How much more rounding is allowed where a GPU multiplies in TF32, with 10 bits in place of 23.

An estimate: it was never measured.
"""

KINDS = {
    "loss": "loss",
    "weight": "weights",
    "moving": "moving statistics",
    "prediction": "logits",
}
"""What is compared, and its name in sentences."""

IN_TRAINING = ("loss", "weight")
IN_PREDICTION = ("moving", "prediction")

Judgment = Literal[
    "same function",
    "same function in float64 only",
    "same function in training only",
    "different functions",
    "not compared",
]


@dataclass(frozen=True)
class Agreement:
    """The differences between two arms in one measurement.

    Weights are all parameters, gamma and beta included; predictions are the logits of the same test
    images after the last step. A difference is None where the arms have nothing to compare.

    Attributes:
        engines: of the first arm and of the other.
        dtype: in which both were computed.
        steps: how many steps both took.
        per_step: whether both took every step from the same state. Then the differences are those
            of single steps: the largest, but for weights the median. (Where a ReLU or a maximum
            falls on the other side by rounding, a few steps differ by more in some weights.)
            Otherwise both started from the same state, and the differences are the largest on the
            way.
        error: what ended the measurement before its last step, if something did.
        tf32: whether matrix products were computed in TF32.
    """

    engines: tuple[str, str]
    dtype: str
    steps: int
    loss: float | None
    weight: float | None
    moving: float | None
    prediction: float | None
    per_step: bool = False
    error: str | None = None
    tf32: bool = False

    def differences(self, kinds: Iterable[str] = KINDS) -> dict[str, float]:
        """Return the known differences of these kinds."""
        values = {kind: getattr(self, kind) for kind in kinds}
        return {kind: value for kind, value in values.items() if value is not None}

    def beyond_rounding(self, kinds: Iterable[str] = KINDS) -> dict[str, float]:
        """Return the differences of these kinds that are larger than rounding makes them."""
        return {
            kind: value
            for kind, value in self.differences(kinds).items()
            if value > self._rounding(kind)
        }

    def conditions(self, names: tuple[str, str]) -> str:
        """Return what was computed: "compiled, float32"."""
        first, other = self.engines
        engine = first
        if first != other:
            engine = f"{in_words(names[0])} {first} and {in_words(names[1])} {other}"
        return f"{engine}, {self.dtype}{' with TF32' if self.tf32 else ''}"

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as it stands in the document of a comparison."""
        document: dict[str, Any] = {
            "engines": list(self.engines),
            "dtype": self.dtype,
            "tf32": self.tf32,
            "steps": self.steps,
            "per_step": self.per_step,
        }
        for kind in KINDS:
            document[_key(kind, self.per_step)] = getattr(self, kind)
        return document | {"error": self.error}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Agreement":
        """Return the measurement that a document holds.

        Raises:
            KeyError, TypeError, ValueError: it holds no measurement.
        """
        engines = document.get("engines", ("eager", "eager"))  # older documents name none
        per_step = document.get("per_step", False)
        facts = {
            "engines": engines,
            "dtype": document["dtype"],
            "steps": document["steps"],
            **{kind: document[_key(kind, per_step)] for kind in KINDS},
            "per_step": per_step,
            "error": document["error"],
            "tf32": document.get("tf32", False),
        }
        return TypeAdapter(cls).validate_python(facts)

    def _rounding(self, kind: str) -> float:
        if self.dtype == "float64":
            return FLOAT64_ROUNDING
        return FLOAT32_ROUNDING[kind] * (TF32_FACTOR if self.tf32 else 1)


@dataclass(frozen=True)
class Parity:
    """Whether an arm is the same function as the first one.

    `exact` compares their formulas: eager, in float64, where rounding hides nothing. `as_trained`
    compares what the trials run: their engines, in float32. It is None in documents of older
    versions, and where no number of `exact` could be taken.
    """

    first: str
    arm: str
    exact: Agreement
    as_trained: Agreement | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether both measurements took all their steps."""
        return (
            self.exact.error is None
            and self.as_trained is not None
            and self.as_trained.error is None
        )

    @property
    def verdict(self) -> Judgment:
        """Return the judgment on what was measured."""
        if self.exact.loss is None:
            return "not compared"
        if self.exact.beyond_rounding(IN_TRAINING):
            return "different functions"
        if self._trained_apart:
            return "same function in float64 only"
        if self.exact.beyond_rounding(IN_PREDICTION) or self.exact.prediction is None:
            return "same function in training only"
        return "same function"

    @property
    def sentence(self) -> str:
        """Return the judgment as a sentence, with what was measured."""
        both = f"Parity: {listed((self.first, self.arm))}"
        if self.exact.loss is None:
            return f"{both} can't be compared: {self.exact.error}"
        judgment = {
            "same function": self._same,
            "same function in training only": self._same_in_training,
            "same function in float64 only": self._same_in_float64,
            "different functions": self._different,
        }[self.verdict]()
        return f"{both} {judgment}{self._errors()}"

    def to_dict(self) -> dict[str, Any]:
        """Return both measurements as they stand in the document of a comparison."""
        return {
            "first": self.first,
            "arm": self.arm,
            **self.exact.to_dict(),
            "as_trained": self.as_trained and self.as_trained.to_dict(),
            "verdict": self.verdict,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Parity":
        """Return what a document holds.

        Raises:
            KeyError, TypeError, ValueError: it holds no parity.
        """
        as_trained = document.get("as_trained")
        facts = {
            "first": document["first"],
            "arm": document["arm"],
            "exact": Agreement.from_dict(document),
            "as_trained": as_trained and Agreement.from_dict(as_trained),
        }
        return TypeAdapter(cls).validate_python(facts)

    @property
    def _agreeing(self) -> list[str]:
        """Return the kinds in which the formulas agree."""
        apart = self.exact.beyond_rounding()
        return [kind for kind in self.exact.differences() if kind not in apart]

    @property
    def _trained_apart(self) -> dict[str, float]:
        """Return the differences of what the trials run where the formulas have none."""
        return self.as_trained.beyond_rounding(self._agreeing) if self.as_trained else {}

    def _same(self) -> str:
        return f"are the same function, to rounding: they agree {self._agreement(KINDS)}."

    def _same_in_training(self) -> str:
        agreement = self._agreement(IN_TRAINING)
        sentence = f"train as the same function, to rounding: they agree {agreement}."
        apart = self.exact.beyond_rounding(IN_PREDICTION)
        if apart:
            sentence += f" But they do not predict alike: they differ by up to {_sizes(apart)}."
        return sentence

    def _same_in_float64(self) -> str:
        assert self.as_trained is not None
        return (
            f"agree {self._to(self.exact, self._agreeing)}. But what the trials run, "
            f"{self._conditions(self.as_trained)}, is not the same function: it differs by up to "
            f"{_sizes(self._trained_apart)} a step, more than rounding."
        )

    def _different(self) -> str:
        return (
            f"are not the same function: they differ by up to {_sizes(self.exact.differences())} "
            f"over {self.exact.steps} steps, {self._conditions(self.exact)}."
        )

    def _errors(self) -> str:
        """Return what ended a measurement before its last step."""
        if self.exact.error is not None:
            return f" Then {self.exact.error}."
        if self.as_trained is not None and self.as_trained.error is not None:
            return f" As they train, {self._conditions(self.as_trained)}: {self.as_trained.error}."
        return ""

    def _agreement(self, kinds: Iterable[str]) -> str:
        """Return how closely they agree in these kinds, in both measurements."""
        kinds = list(kinds)
        sentence = self._to(self.exact, kinds)
        if self.as_trained and self.as_trained.differences(kinds):
            sentence += f"; {self._to(self.as_trained, kinds)}"
        return sentence

    def _to(self, measurement: Agreement, kinds: Iterable[str]) -> str:
        largest = max(measurement.differences(kinds).values())
        over = "a step" if measurement.per_step else f"over {measurement.steps} steps"
        agreement = f"to {_size(largest)}" if largest else "to the last bit"
        return f"{agreement} {over}, {self._conditions(measurement)}"

    def _conditions(self, measurement: Agreement) -> str:
        return measurement.conditions((self.first, self.arm))


def parity_document(parity: Sequence[Parity]) -> dict[str, Any] | None:
    """Return the parity of all arms with the first, as the document of a comparison holds it.

    The differences above the list of arms are the largest over them.
    """
    if not parity:
        return None
    trained = [one.as_trained for one in parity if one.as_trained is not None]
    return {
        "first": parity[0].first,
        **_over_arms([one.exact for one in parity]),
        "as_trained": _over_arms(trained) if trained else None,
        "arms": [one.to_dict() for one in parity],
    }


def _over_arms(measurements: Sequence[Agreement]) -> dict[str, Any]:
    """Return the document of the first measurement, with the largest differences of all."""
    largest: dict[str, Any] = {}
    for kind in KINDS:
        known = [value for one in measurements if (value := getattr(one, kind)) is not None]
        largest[kind] = max(known, default=None)
    document = dataclasses.replace(measurements[0], **largest).to_dict()
    return {key: value for key, value in document.items() if key not in ("error", "engines")}


def _key(kind: str, per_step: bool) -> str:
    """Return the key of a difference in the document of a measurement."""
    return f"{'median' if per_step and kind == 'weight' else 'max'}_{kind}_difference"


def _sizes(differences: Mapping[str, float]) -> str:
    return ", ".join(
        f"{_size(size)} in {KINDS[kind]}" for kind, size in differences.items() if size
    )


def _size(difference: float) -> str:
    """Write the size of a difference: `0.13`, `5e-12`."""
    return f"{difference:.2g}" if difference >= 0.001 else f"{difference:.0e}"
