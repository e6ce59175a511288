"""A comparison as tables: arms, paired differences, parity, throughput, and what they mean."""

import itertools
from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bnrun.experiments.comparison import METRICS, NO_DIFFERENCE, Comparison, Parity, Speeds
from bnrun.experiments.estimate import Estimate
from bnrun.show.tables import POINTS_WORTH_SAYING, data_name, rate

NAMES = {
    "loss": "loss",
    "train_acc": "train acc",
    "test_acc": "test acc, moving",
    "test_acc_population": "test acc, population",
}
SAME_FUNCTION = 1e-9  # float64 over some dozen steps: rounding ends near 1e-12


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show a comparison, or as much of it as there is."""
    parts: list[RenderableType] = [Text(_title(comparison))]
    if any(result.completed for result in comparison.arms):
        parts.append(_arms_table(comparison))
    if comparison.pairs:
        parts += [Text("differences, paired by seed:"), Text(), *_pair_tables(comparison)]
    parts += map(Text, _remarks(comparison))
    if comparison.speeds is not None:
        parts += [Text(), speeds_table(comparison.speeds), Text(_noise(comparison.speeds))]
    parts += map(Text, _closing(comparison))
    return Group(*parts)


def _title(comparison: Comparison) -> str:
    seeds, trials = comparison.seeds, comparison.trials
    named = f"one seed ({seeds[0]})" if len(seeds) == 1 else f"{len(seeds)} seeds ({_range(seeds)})"
    names = ", ".join(result.arm.name for result in comparison.arms)
    data = f", {data_name(trials[0].data)}" if trials else ""
    epochs = sorted({result.arm.config.training.epochs for result in comparison.arms})
    word = "epoch" if epochs == [1] else "epochs"
    return f"LeNet, {names}{data}, {' or '.join(map(str, epochs))} {word}, {named}"


def _range(seeds: tuple[int, ...]) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def _arms_table(comparison: Comparison) -> Table:
    """A column for each arm, a row for each metric after the last epoch."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("mean ± 95 % interval")
    for result in comparison.arms:
        n = len(result.completed)
        table.add_column(Text(f"{result.arm.name}\nn = {n}"), justify="right", overflow="fold")
    for metric in METRICS:
        table.add_row(NAMES[metric], *(_mean(r.estimate(metric)) for r in comparison.arms))
    return table


def _pair_tables(comparison: Comparison) -> Iterator[RenderableType]:
    """A table for every two arms, a row for each metric that both have."""
    for (a, b), pairs in itertools.groupby(comparison.pairs, key=lambda pair: (pair.a, pair.b)):
        # Without edges, to fit a terminal of 80 columns.
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column(Text(f"{a} - {b}"), overflow="fold")
        for heading in ("mean", "95 % interval", "n"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("verdict", overflow="fold", min_width=len(NO_DIFFERENCE))
        for pair in pairs:
            found = pair.difference
            table.add_row(
                NAMES[pair.metric],
                f"{found.mean:+z.4f}",
                f"{found.ci95[0]:+z.4f} to {found.ci95[1]:+z.4f}" if found.ci95 else "-",
                str(found.n),
                Text(pair.verdict),
            )
        yield Group(table, Text())


def _mean(found: Estimate | None) -> str:
    if found is None:
        return "-"
    return f"{found.mean:.4f}" + (f" ± {found.half_width:.4f}" if found.ci95 else "")


def _remarks(comparison: Comparison) -> Iterator[str]:
    """Say what the arms differ in, whether they are one function, and why test accuracy moves."""
    for found in comparison.differences:
        yield (
            f"{found.a} and {found.b} differ in {found.key}: {found.value_a} against "
            f"{found.value_b}."
        )
    if _norm_and_more(comparison):
        yield "With more than the norm differing, no difference is the norm's alone."
    judged = sum(pair.difference.ci95 is not None for pair in comparison.pairs)
    if judged > len(METRICS):
        yield (
            f"Each of these {judged} intervals stands by itself: where nothing differs, one in "
            "twenty shows a difference by chance."
        )
    for parity in comparison.parity:
        yield parity_sentence(parity)
    yield from _why_test_accuracy_moves(comparison)


def _norm_and_more(comparison: Comparison) -> bool:
    norms = {result.arm.config.model.norm for result in comparison.arms}
    return bool(comparison.differences) and len(norms) > 1


def parity_sentence(parity: Parity) -> str:
    """Say whether two arms are the same function, and by what they differ."""
    both = f"{parity.first} and {parity.arm}"
    if parity.max_loss_difference is None:
        return f"Parity of {both} is unknown: {parity.error}"
    measured = ", ".join(
        f"{name} within {value:.0e}"
        for name, value in (
            ("loss", parity.max_loss_difference),
            ("weights", parity.max_weight_difference),
            ("moving statistics", parity.max_moving_difference),
        )
        if value is not None
    )
    how = f"{parity.steps} steps in {parity.dtype} from the same state: {measured}"
    if parity.error:
        how += f"; then {parity.error}"
    trained = max(parity.max_loss_difference, parity.max_weight_difference or 0.0)
    if trained > SAME_FUNCTION:
        return f"Parity: {both} are not the same function ({how})."
    if (parity.max_moving_difference or 0.0) > SAME_FUNCTION:
        return (
            f"Parity: {both} train as the same function, to rounding, but keep other moving "
            f"statistics ({how})."
        )
    return f"Parity: {both} are the same function, to rounding ({how})."


def _why_test_accuracy_moves(comparison: Comparison) -> Iterator[str]:
    """Say by how much the same weights predict better or worse with population statistics."""
    points = [
        100 * (last.test_acc_population - last.test_acc)
        for result in comparison.arms
        for last in (trial.epochs[-1] for trial in result.completed)
        if last.test_acc_population is not None
    ]
    if not points or max(map(abs, points)) <= POINTS_WORTH_SAYING:
        return
    low, high = min(points), max(points)
    gained = f"{low:+z.1f}" + (f" to {high:+z.1f}" if len(points) > 1 else "")
    yield (
        f"The same weights gain {gained} points of test accuracy with population statistics in "
        "place of moving ones: the moving average lags behind the weights, which is much of why "
        "test accuracy jumps about."
    )


def speeds_table(speeds: Speeds) -> Table:
    """Show each arm's throughput, and its ratio to the first within each round."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("throughput", overflow="fold")
    for heading in ("examples/s", f"ratio to {speeds.arms[0].arm}", "middle half of rounds"):
        table.add_column(heading, justify="right")
    for arm in speeds.arms:
        low, high = arm.spread
        first = arm is speeds.arms[0]
        table.add_row(
            Text(arm.arm),
            rate(arm.examples_per_second),
            "1" if first else f"{arm.ratio_to_first:.2f}",
            "" if first else f"{low:.2f} to {high:.2f}",
        )
    return table


def _noise(speeds: Speeds) -> str:
    low, high = speeds.noise.spread
    return (
        f"Noise: {speeds.noise.arm} against itself {speeds.noise.ratio_to_first:.2f} ({low:.2f} to "
        f"{high:.2f}). Medians of {speeds.rounds} rounds, in each of which every arm trains "
        f"{speeds.steps} steps, end to end."
    )


def _closing(comparison: Comparison) -> Iterator[str]:
    for result in comparison.arms:
        for trial in result.trials:
            if trial.status in ("diverged", "failed"):
                yield f"{result.arm.name}, seed {trial.seed}: {trial.status}: {trial.reason}"
    if comparison.trials:
        yield f"on {comparison.trials[0].device}, {comparison.trials[0].machine}"
    if comparison.status == "interrupted":
        done = sum(len(result.completed) for result in comparison.arms)
        planned = len(comparison.seeds) * len(comparison.arms)
        yield f"interrupted: {done} of {planned} trials are complete"
