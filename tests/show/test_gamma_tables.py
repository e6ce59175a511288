"""Whole tables of what norms have learned, at 80 columns, also where a terminal has only ASCII."""

import io
import math
from typing import Any

from rich.console import Console, RenderableType

from bnrun.show.gamma_tables import GammaTables
from bnrun.training.gamma_inspection import Inspection, NormLayer

FIRST = NormLayer(
    name="norm1",
    channels=4,
    gamma=(2.0, -1.0, 0.06, 0.5),
    beta=(0.1, -0.25, 1e-5, -12.5),
    moving_mean=(0.0, -99.1234, 1.0, 123456.0),
    moving_var=(0.25, 1.0, 4.0, 1e-12),
)
MOVING_ALONE = NormLayer("norm2.bn", 2, None, None, (0.5, -0.5), (1.0, 4.0), eps_stated=False)
GAMMA_ALONE = NormLayer("norm3", 1, (0.5,), None, None, None, eps_stated=False)


def _render(view: RenderableType, encoding: str = "utf-8", width: int = 80) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=width, no_color=True, highlight=False).print(view)
    file.flush()
    return "\n".join(line.rstrip() for line in raw.getvalue().decode(encoding).splitlines())


def _tables(*layers: NormLayer, **changes: Any) -> GammaTables:
    fields: dict[str, Any] = {"norm": "scratch", "epoch": 3, "layers": layers}
    return GammaTables(Inspection(**(fields | changes)), "r-s0")


def test_a_norm_with_a_negative_and_a_nearly_off_channel() -> None:
    assert _render(_tables(FIRST)) == (
        "r-s0, after epoch 3\n"
        "\n"
        "norm1, as the textbook prints it:\n"
        "gamma [ 2.0000 -1.0000  0.0600  0.5000]\n"
        "beta  [  0.1000  -0.2500  1.0e-05 -12.5000]\n"
        "\n"
        "norm1: scratch, 4 channels, 1 nearly off\n"
        "                             moving   moving\n"
        "channel        γ         β     mean      var    scale   |γ|\n"
        "────────────────────────────────────────────────────────────────────────────\n"
        "      0   2.0000    0.1000   0.0000   0.2500   3.9999   ████████\n"
        "      1  -1.0000   -0.2500    -99.1   1.0000  -1.0000  -████\n"
        "      2   0.0600   1.0e-05   1.0000   4.0000   0.0300   ▎         nearly off\n"
        "      3   0.5000  -12.5000  1.2e+05  1.0e-12    158.1   ██\n"
        "\n"
        "    min  -1.0000  -12.5000    -99.1  1.0e-12  -1.0000\n"
        " median   0.2800   -0.1250   0.5000   0.6250   2.0150\n"
        "    max   2.0000    0.1000  1.2e+05   4.0000    158.1\n"
        "\n"
        "nearly off: |γ| is at most a tenth of its layer's median\n"
        "scale: γ / sqrt(moving var + eps), by which prediction multiplies a channel"
    )


def test_a_terminal_without_unicode_has_words_and_hashes() -> None:
    shown = _render(_tables(FIRST), "ascii")
    rows = [line.split() for line in shown.splitlines()]
    assert rows[8][:3] == ["channel", "gamma", "beta"]
    assert [row[6:] for row in rows[10:14]] == [
        *(["########"], ["-####"], ["nearly", "off"], ["##"]),
    ]
    assert max(map(len, shown.splitlines())) <= 80
    assert "scale: gamma / sqrt(moving var + eps)" in shown


def test_what_norms_lack_is_a_dash_and_an_assumed_eps_is_named() -> None:
    assert _render(_tables(MOVING_ALONE, GAMMA_ALONE, norm="/home/me/[my].py:N")) == (
        "r-s0, after epoch 3\n"
        "\n"
        "\n"
        "norm2.bn: [my].py:N, 2 channels\n"
        "                moving  moving\n"
        "channel  γ  β     mean     var   scale   |scale|\n"
        "───────────────────────────────────────────────────\n"
        "      0  -  -   0.5000  1.0000  1.0000   ████████\n"
        "      1  -  -  -0.5000  4.0000  0.5000   ████\n"
        "\n"
        "    min  -  -  -0.5000  1.0000  0.5000\n"
        " median  -  -   0.0000  2.5000  0.7500\n"
        "    max  -  -   0.5000  4.0000  1.0000\n"
        "\n"
        "norm3: [my].py:N, 1 channel\n"
        "                    moving  moving\n"
        "channel       γ  β    mean     var  scale   |γ|\n"
        "──────────────────────────────────────────────────────\n"
        "      0  0.5000  -       -       -      -   ████████\n"
        "\n"
        "    min  0.5000  -       -       -      -\n"
        " median  0.5000  -       -       -      -\n"
        "    max  0.5000  -       -       -      -\n"
        "\n"
        "scale: γ / sqrt(moving var + eps), by which prediction multiplies a channel\n"
        "no eps is stated by norm2.bn: scale assumes 1e-05"
    )


def test_population_statistics_are_called_so() -> None:
    shown = _render(_tables(FIRST, recalibrated=4000))
    assert shown.splitlines()[1] == (
        "moving mean and var hold population statistics over 4,000 training images"
    )


def test_a_long_vector_is_broken_where_its_lines_stay_aligned() -> None:
    vector = tuple(float(value) for value in range(-10, 11))
    layer = NormLayer("norm3", 21, vector, None, None, None)
    lines = _render(_tables(layer)).splitlines()[3:6]
    assert lines[0].startswith("gamma [-10.0000  -9.0000")
    assert lines[1].startswith("       ")
    assert lines[2].endswith("]")
    assert len({len(line.removesuffix("]")) for line in lines[:2]}) == 1


def test_the_widest_numbers_fit_80_columns_and_what_is_not_finite_is_shown() -> None:
    wide = (-12345.1, -0.00001, -98.12345)
    layer = NormLayer("norm1", 3, wide, wide, wide, (12345.1, 1e-12, 98.12345))
    broken = NormLayer("norm2", 3, (1.0, math.nan, -math.inf), None, None, (1.0, -1.0, 0.5))
    for encoding in ("utf-8", "ascii"):
        shown = _render(_tables(layer, broken), encoding)
        assert max(map(len, shown.splitlines())) <= 80
        assert "…" not in shown
        assert "..." not in shown
    assert "nan" in shown.splitlines()[-6].split()
