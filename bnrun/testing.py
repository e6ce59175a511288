"""For test suites: a normalization layer is right, or the test fails with bnrun's report.

from bnrun.testing import assert_normalizes

def test_my_layer_norm():
    assert_normalizes(MyLayerNorm, family="layer")
"""

from typing import Any

from torch import nn

from bnrun.api.verification import verify
from bnrun.show.results import render

WIDTH = 88
"""Columns of the report in a failure's message."""


def assert_normalizes(
    norm: str | type[nn.Module], family: str | None = "batch", **options: Any
) -> None:
    """Fail with bnrun's report unless a norm is right.

    A difference by choice, such as Keras's eps, is a dialect and passes.

    Args:
        norm: a class; or a text that names one, `path/to/file.py:Class` or `package.module:Class`.
        family: `batch`, `layer`, `group`, `instance` or `rms`: by whose formula it is judged. None
            recognizes it.
        options: other arguments of `bnrun.verify`, such as `shapes="2d"`, `contract="textbook"` or
            `norm_options={"eps": 1e-3}`.

    Raises:
        AssertionError: it has a fault, or its moving statistics are not found; the message is the
            report.
        NormError: it cannot be loaded or built.
        ConfigError: an argument has an unknown value.

    Example:
        >>> from torch import nn
        >>> from bnrun.testing import assert_normalizes
        >>> assert_normalizes(nn.RMSNorm, family="rms")
    """
    __tracebackhide__ = True  # pytest shows the line of the test, not this one
    report = verify(norm, family=family, **options)
    if report.verdict == "fail" or "moving statistics" in report.not_judged:
        raise AssertionError(f"it does not normalize as it should.\n\n{render(report, WIDTH)}")
