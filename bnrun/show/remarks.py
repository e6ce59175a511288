"""What is to be said of a comparison in words."""

from collections.abc import Iterator, Mapping

from bnrun.comparison.outcome import NO_DIFFERENCE, Comparison, Parity
from bnrun.show.wording import as_yaml
from bnrun.summary import METRICS, NOTABLE_POINTS

MOVING_ROW = "test acc, moving"
ROUNDING = 1e-8  # float64 over some dozen steps: rounding ends near 1e-12


def remarks(comparison: Comparison) -> Iterator[str]:
    """Say what verdicts mean, what arms differ in, whether they are one function, and the like."""
    verdicts = [pair.verdict for pair in comparison.pairs]
    if NO_DIFFERENCE in verdicts:
        yield (
            f"'{NO_DIFFERENCE}': 0 lies in the interval. It is not proof that there is none; "
            "more seeds narrow the interval."
        )
    judged = sum(pair.difference.ci95 is not None for pair in comparison.pairs)
    if judged > len(METRICS):
        yield (
            f"Each of these {judged} intervals stands by itself: where nothing differs, one in "
            "twenty shows a difference by chance."
        )
    for found in comparison.differences:
        values = f"{as_yaml(found.value_a)} in {found.a}, {as_yaml(found.value_b)} in {found.b}"
        yield f"{found.a} and {found.b} differ in {found.key}: {values}."
    norms = {result.arm.config.model.norm for result in comparison.arms}
    if comparison.differences and len(norms) > 1:
        yield "With more than the norm differing, no difference is the norm's alone."
    for parity in comparison.parity:
        yield parity_sentence(parity)
    yield from _population_remarks(comparison)


def parity_sentence(parity: Parity) -> str:
    """Say whether two arms are the same function, and by what they differ."""
    both = f"Parity: {parity.first} and {parity.arm}"
    if parity.max_loss_difference is None:
        return f"{both} can't be compared: {parity.error}"
    training = {"loss": parity.max_loss_difference, "weights": parity.max_weight_difference}
    predicting = {
        "moving statistics": parity.max_moving_difference,
        "logits": parity.max_prediction_difference,
    }
    if _apart(training):
        said = f"are not the same function: they differ by up to {_sizes(training)}"
    elif _apart(predicting):
        said = (
            "train as the same function, to rounding, but do not predict as one: they differ by "
            f"up to {_sizes(predicting)}"
        )
    elif parity.error:
        said = "train as the same function, to rounding"
    else:
        said = (
            "are the same function, to rounding: they differ by up to "
            f"{_sizes(training | predicting)}"
        )
    said += f" ({parity.steps} steps in {parity.dtype} from the same state)"
    return f"{both} {said}" + (f"; then {parity.error}" if parity.error else ".")


def _apart(differences: Mapping[str, float | None]) -> bool:
    """Tell whether some difference is more than rounding."""
    return any((difference or 0.0) > ROUNDING for difference in differences.values())


def _sizes(differences: Mapping[str, float | None]) -> str:
    known = {name: size for name, size in differences.items() if size is not None}
    return ", ".join(f"{size:.0e} in {name}" for name, size in known.items())


def _population_remarks(comparison: Comparison) -> Iterator[str]:
    """Say by how much the same weights predict better or worse with population statistics."""
    changes, without = [], []
    for result in comparison.arms:
        last = [trial.epochs[-1] for trial in result.completed]
        points = [
            100 * (epoch.test_acc_population - epoch.test_acc)
            for epoch in last
            if epoch.test_acc_population is not None
        ]
        if points and max(map(abs, points)) > NOTABLE_POINTS:
            low, high = f"{min(points):+.1f}", f"{max(points):+.1f}"
            changes.append(f"{result.arm.name} {low}" + (f" to {high}" if high != low else ""))
        if last and not points:
            without.append(result.arm.name)
    if changes:
        yield (
            "With population in place of moving statistics, the test accuracy of the same weights "
            f"changes by (points, over the trials): {', '.join(changes)}. That much of it hangs on "
            "the moving average, which holds what batches were under earlier weights."
        )
    if without:
        yield (
            f"{', '.join(without)}: no moving statistics are kept; the row '{MOVING_ROW}' "
            "holds the one way in which it predicts."
        )
