"""A comparison as tables: arms, paired differences, parity, throughput, and what they mean."""

import itertools
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.comparison.estimate import Estimate
from bnrun.comparison.outcome import (
    NO_DIFFERENCE,
    ROUNDING,
    Comparison,
    Speeds,
    Throughput,
)
from bnrun.show.remarks import MOVING_ROW, remarks
from bnrun.show.tables import label, number, table, text
from bnrun.show.wording import data_name, rate
from bnrun.summary import METRICS

NAMES = {
    "loss": "loss",
    "train_acc": "train acc",
    "test_acc": MOVING_ROW,
    "test_acc_population": "test acc, population",
}
ARMS_A_TABLE = 3


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show a comparison, or as much of it as there is."""
    parts: list[RenderableType] = [Text(_title(comparison)), Text()]
    if any(result.completed for result in comparison.arms):
        parts += _arm_tables(comparison)
    if comparison.pairs:
        parts += [Text("differences, paired by seed:"), Text(), *_pair_tables(comparison)]
    parts += map(Text, remarks(comparison))
    if comparison.speeds is not None:
        parts += [Text(), *_throughput(comparison.speeds)]
    parts += map(Text, _closing(comparison))
    return Group(*parts)


def _title(comparison: Comparison) -> str:
    seeds, trials = comparison.seeds, comparison.trials
    listed = ", ".join(map(str, seeds))
    if seeds == tuple(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2:
        listed = f"{seeds[0]} to {seeds[-1]}"
    named = f"one seed ({listed})" if len(seeds) == 1 else f"{len(seeds)} seeds ({listed})"
    names = ", ".join(result.arm.name for result in comparison.arms)
    data = f", {data_name(trials[0].data)}" if trials else ""
    epochs = sorted({result.arm.config.training.epochs for result in comparison.arms})
    word = "epoch" if epochs == [1] else "epochs"
    return f"LeNet, {names}{data}, {' or '.join(map(str, epochs))} {word}, {named}"


def _arm_tables(comparison: Comparison) -> Iterator[RenderableType]:
    """A column for each arm, a row for each metric after the last epoch; a few arms a table."""
    for start in range(0, len(comparison.arms), ARMS_A_TABLE):
        arms = comparison.arms[start : start + ARMS_A_TABLE]
        headings = (Text(f"{result.arm.name}\nn = {len(result.completed)}") for result in arms)
        columns = (number(heading, fold=True) for heading in headings)
        shown = table(label("mean ± 95 % interval"), *columns)
        for metric in METRICS:
            shown.add_row(NAMES[metric], *(_mean(result.estimate(metric)) for result in arms))
        yield Group(shown, Text())


def _pair_tables(comparison: Comparison) -> Iterator[RenderableType]:
    """A table for every two arms, a row for each metric that both have."""
    for (a, b), pairs in itertools.groupby(comparison.pairs, key=lambda pair: (pair.a, pair.b)):
        figures = map(number, ("mean", "95 % interval", "n"))
        shown = table(label(), *figures, text("verdict", min_width=len(NO_DIFFERENCE)))
        for pair in pairs:
            found = pair.difference
            shown.add_row(
                NAMES[pair.metric],
                _signed(found.mean),
                " to ".join(map(_signed, found.ci95)) if found.ci95 else "-",
                str(found.n),
                Text(pair.verdict),
            )
        yield Group(Text(f"{a} - {b}"), shown, Text())


def _mean(found: Estimate | None) -> str:
    if found is None:
        return "-"
    return f"{found.mean:.4f}" + (f" ± {found.half_width:.4f}" if found.ci95 else "")


def _signed(value: float) -> str:
    """Write a difference in four digits after the point; one that has none there, by its size."""
    if abs(value) < ROUNDING:
        return "0"
    return f"{value:+.4f}" if abs(value) >= 0.00005 else f"{value:+.0e}"


def _throughput(speeds: Speeds) -> Iterator[RenderableType]:
    """Show each arm's throughput, its ratio to the first within each round, and the noise."""
    headings = ("examples/s", f"ratio to {speeds.arms[0].arm}", "middle half")
    figures = (number(heading, fold=True) for heading in headings)
    shown = table(label("throughput"), *figures, text())
    for arm in speeds.arms:
        low, high = arm.spread
        first = arm is speeds.arms[0]
        shown.add_row(
            Text(arm.arm),
            rate(arm.examples_per_second),
            "1" if first else f"{arm.ratio_to_first:.2f}",
            "" if first else f"{low:.2f} to {high:.2f}",
            "" if first else _against(arm, speeds.noise),
        )
    yield shown
    low, high = speeds.noise.spread
    yield Text(
        f"Noise: {speeds.noise.arm} against itself {speeds.noise.ratio_to_first:.2f} ({low:.2f} to "
        f"{high:.2f}). Medians and middle half of {speeds.rounds} rounds, in each of which every "
        f"arm trains {speeds.steps} steps, end to end, engine {speeds.engine}, on "
        f"{speeds.machine}."
    )


def _against(arm: Throughput, noise: Throughput) -> str:
    """Say whether an arm's rounds lie apart from those of the first arm against itself."""
    if arm.spread[0] > noise.spread[1]:
        return "faster"
    return "slower" if arm.spread[1] < noise.spread[0] else "within the noise"


def _closing(comparison: Comparison) -> Iterator[str]:
    for result in comparison.arms:
        for trial in result.trials:
            if trial.status in ("diverged", "failed"):
                yield f"{result.arm.name}, seed {trial.seed}: {trial.status}: {trial.reason}"
    if comparison.speeds_error is not None:
        yield f"throughput was not measured: {comparison.speeds_error}"
    machines = dict.fromkeys(f"{trial.device}, {trial.machine}" for trial in comparison.trials)
    if machines:
        yield f"trained on {'; '.join(machines)}"
    if comparison.status == "interrupted":
        done = sum(len(result.completed) for result in comparison.arms)
        planned = len(comparison.seeds) * len(comparison.arms)
        yield f"interrupted: {done} of {planned} trials are complete"
