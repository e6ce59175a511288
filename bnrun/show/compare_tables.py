"""A comparison as tables: arms, paired differences with their verdicts, and throughput."""

import itertools
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.comparison.arm_words import in_words, listed
from bnrun.comparison.arms import ArmResult
from bnrun.comparison.estimate import Estimate
from bnrun.comparison.paired_differences import NO_DIFFERENCE, ROUNDING, Pair
from bnrun.comparison.result import Comparison, Speeds
from bnrun.comparison.trial_metrics import METRIC_NAMES
from bnrun.show.tables import label, number, table, text
from bnrun.show.wording import data_name, rate
from bnrun.training_summary import METRICS

ARMS_PER_TABLE = 3
"""How many arms fit beside each other on 80 columns."""


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show a comparison, or as much of it as there is."""
    parts: list[RenderableType] = [Text(_title(comparison)), Text()]
    if any(result.completed for result in comparison.arms):
        parts += _arm_tables(comparison)
    pairs = comparison.pairs
    if pairs:
        parts += [Text("differences, paired by seed:"), Text()]
        parts += _pair_tables(pairs, len(comparison.seeds))
    parts += map(Text, comparison.remarks)
    if comparison.speeds is not None:
        parts += [Text(), *_throughput(comparison.speeds)]
    parts += map(Text, _closing_lines(comparison))
    return Group(*parts)


def _title(comparison: Comparison) -> str:
    seeds, trials = comparison.seeds, comparison.trials
    listed = ", ".join(map(str, seeds))
    if seeds == tuple(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2:
        listed = f"{seeds[0]} to {seeds[-1]}"
    over = f"one seed ({listed})" if len(seeds) == 1 else f"{len(seeds)} seeds ({listed})"
    names = ", ".join(result.arm.name for result in comparison.arms)
    data = f", {data_name(trials[0].data)}" if trials else ""
    epochs = sorted({result.arm.config.training.epochs for result in comparison.arms})
    word = "epoch" if epochs == [1] else "epochs"
    return f"LeNet, {names}{data}, {' or '.join(map(str, epochs))} {word}, {over}"


def _arm_tables(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield tables with a column for each arm, and a row for each metric after the last epoch."""
    for start in range(0, len(comparison.arms), ARMS_PER_TABLE):
        arms = comparison.arms[start : start + ARMS_PER_TABLE]
        headings = (Text(f"{result.arm.name}\nn = {len(result.completed)}") for result in arms)
        columns = (number(heading, fold=True) for heading in headings)
        shown = table(label("mean ± 95 % interval"), *columns)
        for metric in METRICS:
            estimates = (result.estimate(metric) for result in arms)
            shown.add_row(METRIC_NAMES[metric], *map(_mean, estimates))
        if any(result.not_learned for result in comparison.arms):
            shown.add_row("did not learn", *map(_not_learned, arms))
        yield Group(shown, Text())


def _pair_tables(pairs: Sequence[Pair], planned: int) -> Iterator[RenderableType]:
    """Yield a table for every two arms, with a row for each metric, the primary one first."""
    for _, group in itertools.groupby(pairs, key=lambda pair: (pair.a, pair.b)):
        rows = sorted(group, key=lambda pair: not pair.primary)
        figures = map(number, ("mean", "95 % interval", "p"))
        shown = table(
            label("primary first"), *figures, text("verdict", min_width=len(NO_DIFFERENCE))
        )
        for pair in rows:
            difference = pair.difference
            shown.add_row(
                METRIC_NAMES[pair.metric],
                _signed(difference.mean),
                " to ".join(map(_signed, difference.ci95)) if difference.ci95 else "-",
                _p(pair.p_adjusted),
                Text(_verdict(pair)),
            )
        yield Group(Text(_pair_heading(rows[0], planned)), shown, Text())


def _pair_heading(pair: Pair, planned: int) -> str:
    n = pair.difference.n
    of = f" of {planned}" if n < planned else ""
    return f"{pair.a} - {pair.b}, n = {n}{of}"


def _verdict(pair: Pair) -> str:
    lines = [pair.verdict]
    if pair.detected is False and pair.detectable is not None:
        lines.append(f"({_detectable(pair.metric, pair.detectable)} would show)")
    if pair.equivalence is not None:
        lines.append(pair.equivalence.verdict)
    if pair.not_learned:
        lines.append(f"({listed(pair.not_learned)} did not learn)")
    return "\n".join(lines)


def _detectable(metric: str, size: float) -> str:
    """Write a detectable difference; two accuracies cannot differ by more than 1."""
    return "none" if metric != "loss" and size > 1 else _size(size)


def _mean(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.mean:.4f}" + (f" ± {estimate.half_width:.4f}" if estimate.ci95 else "")


def _not_learned(result: ArmResult) -> str:
    completed = len(result.completed)
    return f"{len(result.not_learned)} of {completed}" if completed else "-"


def _signed(value: float) -> str:
    """Write a difference with its sign."""
    if abs(value) < ROUNDING:
        return "0"
    return f"{'+' if value > 0 else '-'}{_size(abs(value))}"


def _size(value: float) -> str:
    """Write a size with four decimals; one that would be 0 then, by its magnitude."""
    return f"{value:.4f}" if value >= 0.00005 else f"{value:.0e}"


def _p(value: float | None) -> str:
    """Write a p value with two digits, without the 0 before its point.

    A value next to .05 has as many digits as show on which side of it the verdict fell.
    """
    if value is None:
        return "-"
    if value < 0.001:
        return "<.001"
    digits = 2 if value >= 0.1 else 3
    while round(value, digits) == 0.05 != value and digits < 6:
        digits += 1
    return f"{value:.{digits}f}".removeprefix("0")


def _throughput(speeds: Speeds) -> Iterator[RenderableType]:
    """Yield each arm's throughput with its ratio to the first arm, and the noise."""
    engines = list(dict.fromkeys(arm.engine for arm in speeds.arms))
    columns = [label("throughput"), *([label("engine")] if len(engines) > 1 else [])]
    first = speeds.arms[0]
    headings = ("examples/s", f"ratio to {first.arm}", "middle half")
    shown = table(*columns, *(number(heading, fold=True) for heading in headings), text())
    for arm in speeds.arms:
        low, high = arm.spread
        shown.add_row(
            Text(arm.arm),
            *([arm.engine] if len(engines) > 1 else []),
            rate(arm.examples_per_second),
            "1" if arm is first else f"{arm.ratio_to_first:.2f}",
            "" if arm is first else f"{low:.2f} to {high:.2f}",
            speeds.verdict(arm) or "",
        )
    yield shown
    low, high = speeds.noise.spread
    engine = f"engine {engines[0]}, " if len(engines) == 1 else ""
    yield Text(
        f"Noise: {speeds.noise.arm} against itself {speeds.noise.ratio_to_first:.2f} ({low:.2f} to "
        f"{high:.2f}). Medians and middle half of {speeds.rounds} rounds, in each of which every "
        f"arm trains {speeds.steps} steps, end to end, {engine}on {speeds.machine}."
    )


def _closing_lines(comparison: Comparison) -> Iterator[str]:
    for result in comparison.arms:
        for trial in result.lost:
            yield f"{in_words(result.arm.name)}, seed {trial.seed}: {trial.status}: {trial.reason}"
    if comparison.speeds_error is not None:
        yield f"throughput was not measured: {comparison.speeds_error}"
    machines = dict.fromkeys(
        f"{trial.device}, {trial.machine}, engine {trial.engine}" for trial in comparison.trials
    )
    if machines:
        yield f"trained on {'; '.join(machines)}"
    if comparison.status == "interrupted":
        done = sum(len(result.completed) for result in comparison.arms)
        planned = len(comparison.seeds) * len(comparison.arms)
        yield f"interrupted: {done} of {planned} trials are complete"
