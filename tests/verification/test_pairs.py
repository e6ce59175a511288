"""Two faults in one class are both named, and nothing else is."""

from collections.abc import Callable

import faulty_norms as faulty
import pytest

from bnrun.verification.report import Report

# Classes of faulty_norms.py that override different methods, so that one can inherit from both.
PAIRS = [
    # in the same part of the formula
    ("EpsOutside", "NotCentredVariance"),
    ("UnbiasedNormalizes", "EpsOutside"),
    ("NoRoot", "BetaScaled"),
    ("NoEps", "GammaUnused"),
    ("SumOfSquares", "BetaSubtracted"),
    ("PerExample", "Swapped"),
    ("NotCentred", "NoRoot"),
    # output and gradients
    ("EpsOutside", "MeanDetached"),
    ("UnbiasedNormalizes", "VarianceDetached"),
    ("NoRoot", "GammaData"),
    # output and moving statistics
    ("OverBatchAlone", "Reversed"),
    ("BetaUnused", "BiasedMoving"),
    ("UnbiasedNormalizes", "Reversed"),
    ("NotCentredVariance", "Reversed"),
    # two of the moving statistics
    ("BiasedMoving", "Reversed"),
    ("CountsBatchAlone", "MovesTwice"),
    ("HoldsEps", "Replaced"),
    ("KeepsDeviation", "OtherMomentum"),
    # mode, and what is computed
    ("KeyedOnGradients", "EpsOutside"),
    ("AlwaysTrains", "BiasedMoving"),
    ("PredictsWithBatch", "MeanDetached"),
    ("MovesWhenPredicting", "Reversed"),
    ("Inverted", "AffineTwice"),
    ("KeyedOnGradients", "VarianceDetached"),
    ("AlwaysTrains", "BetaDetached"),
    # precision and inputs
    ("Narrows", "EpsOutside"),
    ("WritesIntoInput", "GammaPlusOne"),
    ("ReturnsFloat32", "Reversed"),
    # the module
    ("PlainAttributes", "BiasedMoving"),
    ("NotPersistent", "KeepsGraph"),
    ("EpsIgnored", "NoRoot"),
    ("MomentumOfOld", "BetaDetached"),
    ("HoldsLambda", "VarianceStartsAtZero"),
    ("AcceptsOneValue", "Views"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_both_faults_are_named(report_on: Callable[..., Report], first: str, second: str) -> None:
    both = type(f"{first}And{second}", (getattr(faulty, first), getattr(faulty, second)), {})
    found = {found.fault.name for found in report_on(both, few_steps=True).findings}
    assert found == {faulty.FAULTS[first], faulty.FAULTS[second]}
