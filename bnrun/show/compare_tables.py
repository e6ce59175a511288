"""A comparison as tables: arms, paired differences with their verdicts, and throughput."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType

from bnrun.comparison.arm_words import in_words, listed, quoted
from bnrun.comparison.arms import ArmResult
from bnrun.comparison.estimate import Estimate
from bnrun.comparison.paired_differences import ROUNDING, Pair
from bnrun.comparison.result import Comparison, Speeds
from bnrun.comparison.trial_metrics import METRIC_NAMES, is_vague, is_vague_difference
from bnrun.learning import DID_NOT_LEARN, LOSS_ABOVE_GUESSING
from bnrun.show.folding import Paragraph
from bnrun.show.tables import Table, label, number, table, text
from bnrun.show.wording import data_name, figures, fraction, rate, ratio, ratio_range
from bnrun.training_summary import METRICS

MAX_NAMED_ARMS = 4
"""How many arms the title names; of more, it says how many there are."""

FIGURES = ("mean", "95 % interval", "p")
"""Headings of the figures of a difference."""


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show a comparison, or as much of it as there is.

    The verdicts stand last, where they are seen without scrolling; what they mean, above them.
    """
    blocks: list[Iterable[RenderableType]] = [[Paragraph(_title(comparison))]]
    if any(result.completed for result in comparison.arms):
        blocks.append([_arm_table(comparison.arms)])
    if comparison.speeds is not None:
        blocks.append(_throughput(comparison.speeds))
    blocks.append(map(Paragraph, _sentences(comparison)))
    pairs = comparison.pairs
    if pairs:
        blocks.append(
            [Paragraph(f"differences, paired by seed, primary metric last{_legend(pairs)}:")]
        )
        blocks += _pair_tables(pairs, len(comparison.seeds))
    if comparison.status == "interrupted":
        blocks.append([Paragraph(_progress(comparison))])
    parts = [part for block in map(list, blocks) if block for part in ("", *block)]
    return Group(*parts[1:])


def _title(comparison: Comparison) -> str:
    seeds, trials = comparison.seeds, comparison.trials
    named = ", ".join(map(str, seeds))
    if seeds == tuple(range(seeds[0], seeds[0] + len(seeds))) and len(seeds) > 2:
        named = f"{seeds[0]} to {seeds[-1]}"
    over = f"one seed ({named})" if len(seeds) == 1 else f"{len(seeds)} seeds ({named})"
    arms = [result.arm.name for result in comparison.arms]
    names = ", ".join(map(quoted, arms)) if len(arms) <= MAX_NAMED_ARMS else f"{len(arms)} arms"
    images = dict.fromkeys(data_name(trial.data) for trial in trials)
    data = f", {' and '.join(images)}" if images else ""
    epochs = sorted({result.arm.config.training.epochs for result in comparison.arms})
    trained = f"{epochs[0]} epoch{'s' if epochs[0] > 1 else ''}"
    if len(epochs) > 1:
        trained = f"{epochs[0]} to {epochs[-1]} epochs"
    return f"LeNet, {names}{data}, {trained}, {over}"


def _arm_table(arms: Sequence[ArmResult]) -> Table:
    """Show a column for each arm, and a row for each metric after the last epoch."""
    headings = (f"{result.arm.name}\nn = {len(result.completed)}" for result in arms)
    several = any(len(result.completed) > 1 for result in arms)
    what = "mean ± 95 % interval" if several else "value"
    shown = table(label(what), *map(number, headings), split=True)
    for metric in METRICS:
        means = (_mean(metric, result.estimate(metric)) for result in arms)
        shown.add_row(METRIC_NAMES[metric], *means)
    for shortcoming in (DID_NOT_LEARN, LOSS_ABOVE_GUESSING):
        ends = [[trial.shortcoming for trial in result.completed] for result in arms]
        if any(shortcoming in trials for trials in ends):
            counts = (f"{one.count(shortcoming)} of {len(one)}" if one else "-" for one in ends)
            shown.add_row(shortcoming, *counts)
    return shown


def _pair_tables(pairs: Sequence[Pair], planned: int) -> Iterator[list[RenderableType]]:
    """Yield the differences of two arms in one table; those of several pairs, metric by metric.

    The primary metric has the last row, or the last table: it is on the last screen.
    """
    if _is_one(pairs):
        yield [Paragraph(_pair_heading(pairs[0], planned)), _pair_table(pairs)]
        return
    for metric in METRICS:
        others = [pair for pair in pairs if pair.metric == metric and not pair.primary]
        if others:
            yield [Paragraph(f"{METRIC_NAMES[metric]}:"), _metric_table(others, planned)]
    primary = [pair for pair in pairs if pair.primary]
    metrics = dict.fromkeys(METRIC_NAMES[pair.metric] for pair in primary)
    yield [Paragraph(f"primary metric, {' or '.join(metrics)}:"), _metric_table(primary, planned)]


def _is_one(pairs: Sequence[Pair]) -> bool:
    return len({(pair.a, pair.b) for pair in pairs}) == 1


def _legend(pairs: Sequence[Pair]) -> str:
    """Return what the stars mean, where there are any."""
    starred = not _is_one(pairs) and any(pair.not_learned for pair in pairs)
    return " (* did not learn)" if starred else ""


def _pair_table(pairs: Sequence[Pair]) -> Table:
    """Show a row for each metric of two arms, the primary one last."""
    shown = table(label("metric"), *map(number, FIGURES), text("verdict"))
    for pair in sorted(pairs, key=lambda pair: pair.primary):
        shown.add_row(METRIC_NAMES[pair.metric], *_figures(pair), _verdict(pair))
    return shown


def _metric_table(pairs: Sequence[Pair], planned: int) -> Table:
    """Show a row for each pair on one metric; a star marks an arm that did not learn."""
    shown = table(label("pair"), *map(number, ("n", *FIGURES)), text("verdict"))
    for pair in pairs:
        a, b = (f"{arm}*" if arm in pair.not_learned else arm for arm in (pair.a, pair.b))
        shown.add_row(f"{a} - {b}", _n(pair, planned), *_figures(pair), _verdict(pair))
    return shown


def _figures(pair: Pair) -> tuple[str, str, str]:
    return _signed(pair.difference.mean), _interval(pair), _p(pair.p_adjusted)


def _interval(pair: Pair) -> str:
    if pair.difference.ci95 is None:
        return "-"
    return (
        "?" if is_vague_difference(pair.metric, pair.difference) else _signed(*pair.difference.ci95)
    )


def _pair_heading(pair: Pair, planned: int) -> str:
    mark = f" ({listed(pair.not_learned)} did not learn)" if pair.not_learned else ""
    return f"{pair.a} - {pair.b}, n = {_n(pair, planned)}{mark}"


def _n(pair: Pair, planned: int) -> str:
    n = pair.difference.n
    return f"{n} of {planned}" if n < planned else str(n)


def _verdict(pair: Pair) -> str:
    lines = [pair.verdict]
    if pair.detected is False and pair.detectable is not None:
        lines.append(_detectable(pair.metric, pair.detectable))
    if pair.equivalence is not None:
        lines.append(pair.equivalence.verdict)
    return "\n".join(lines)


def _detectable(metric: str, size: float) -> str:
    """Write what difference would show; two accuracies cannot differ by more than 1."""
    if metric != "loss" and size > 1:
        return "(nothing would show)"
    return f"({fraction(size)} would show)"


def _mean(metric: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if is_vague(metric, estimate):
        return f"{fraction(estimate.mean)} ± ?"
    half_width = estimate.half_width
    written = (estimate.mean,) if half_width is None else (estimate.mean, half_width)
    return " ± ".join(figures(*written))


def _signed(*values: float) -> str:
    """Write a difference, or the ends of its interval, with their signs."""
    exact = [0.0 if abs(value) < ROUNDING else value for value in values]
    written = zip(exact, figures(*exact, sign="+"), strict=True)
    return " to ".join(figure if value else "0" for value, figure in written)


def _p(value: float | None) -> str:
    """Write a p value with three digits, without the 0 before its point: `.170`, `1.00`.

    A value next to .05 has as many digits as show on which side of it the verdict fell.
    """
    if value is None:
        return "-"
    if value < 0.001:
        return "<.001"
    digits = 3
    while round(value, digits) == 0.05 != value and digits < 6:
        digits += 1
    return f"{value:.{digits}f}".removeprefix("0")[: 1 + digits]


def _throughput(speeds: Speeds) -> Iterator[RenderableType]:
    """Yield each arm's throughput with its ratio to the first arm, and the noise."""
    engines = list(dict.fromkeys(arm.engine for arm in speeds.arms))
    columns = [label("throughput"), *([label("engine")] if len(engines) > 1 else [])]
    first = speeds.arms[0]
    headings = ("examples/s", f"ratio to {first.arm}", "middle half")
    shown = table(*columns, *(number(heading) for heading in headings), text())
    for arm in speeds.arms:
        shown.add_row(
            arm.arm,
            *([arm.engine] if len(engines) > 1 else []),
            rate(arm.examples_per_second),
            "1" if arm is first else ratio(arm.ratio_to_first),
            "" if arm is first else ratio_range(*arm.spread),
            speeds.verdict(arm) or "",
        )
    yield shown
    noise, rounds = speeds.noise, speeds.rounds
    medians = (
        "One round, in which"
        if rounds == 1
        else f"Medians and middle half of {rounds} rounds, in each of which"
    )
    engine = f"engine {engines[0]}, " if len(engines) == 1 else ""
    yield Paragraph(
        f"Noise: {in_words(noise.arm)} against itself {ratio(noise.ratio_to_first)} "
        f"({ratio_range(*noise.spread)}). {medians} every arm "
        f"trains {speeds.steps} steps, end to end, {engine}on {speeds.machine}."
    )
    if speeds.remark is not None:
        yield Paragraph(speeds.remark)


def _sentences(comparison: Comparison) -> Iterator[str]:
    """Yield where trials were trained, what must be known to read the numbers, and lost trials."""
    if comparison.speeds_error is not None:
        yield f"throughput was not measured: {comparison.speeds_error}"
    machines = dict.fromkeys(
        f"{trial.device}, {trial.machine}, engine {trial.engine}" for trial in comparison.trials
    )
    if machines:
        yield f"trained on {'; '.join(machines)}"
    yield from comparison.remarks
    for result in comparison.arms:
        for trial in result.lost:
            yield f"{in_words(result.arm.name)}, seed {trial.seed}: {trial.status}: {trial.reason}"


def _progress(comparison: Comparison) -> str:
    done = sum(len(result.completed) for result in comparison.arms)
    planned = len(comparison.seeds) * len(comparison.arms)
    return f"interrupted with {done} of {planned} trials complete"
