"""What must be known to read the numbers of a comparison, in sentences."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bnrun.comparison.arm_words import in_words, listed
from bnrun.comparison.arms import MAX_TIMED_ARMS, Arm, ArmResult
from bnrun.comparison.paired_differences import NO_DIFFERENCE, Pair
from bnrun.comparison.trial_metrics import METRIC_NAMES, is_vague, is_vague_difference
from bnrun.config.yaml_text import inline
from bnrun.training_summary import METRICS, NOTABLE_POINTS

if TYPE_CHECKING:
    from bnrun.comparison.result import Comparison

OPTIONS = "model.norm_options"


def remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield what verdicts mean, in what arms differ, whether they are one function, and so on."""
    pairs = comparison.pairs
    yield from _vague_remarks(comparison)
    yield from _verdict_remarks(pairs, comparison.more_seeds)
    yield from _left_out_remarks(comparison)
    yield from _lost_remarks(pairs, comparison.ask_again)
    yield from _not_learned_remarks(comparison)
    yield from _above_guessing_remarks(comparison)
    yield from _difference_remarks(comparison)
    yield from _parity_remarks(comparison)
    yield from _population_remarks(comparison)
    if comparison.takes_population:
        yield from _one_accuracy_remarks(comparison)
    if "throughput" not in comparison.measures and comparison.speeds is None:
        many = len(comparison.arms) > MAX_TIMED_ARMS
        why = f"more than {MAX_TIMED_ARMS} arms" if many else "--no-throughput"
        yield f"Throughput: not measured ({why})."


def _vague_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield why an interval is not shown, where one is not."""
    means = (
        (metric, estimate)
        for result in comparison.arms
        for metric in METRICS
        if (estimate := result.estimate(metric)) is not None
    )
    if any(is_vague(metric, estimate) for metric, estimate in means) or any(
        is_vague_difference(pair.metric, pair.difference) for pair in comparison.pairs
    ):
        yield (
            "?: from so few seeds, the 95 % interval would reach beyond what is possible "
            "(accuracies lie between 0 and 1, so they differ by at most 1; losses lie above 0)."
        )


def _verdict_remarks(pairs: tuple[Pair, ...], more_seeds: str) -> Iterator[str]:
    judged = [pair for pair in pairs if pair.detected is not None]
    if pairs and all(pair.difference.n == 1 for pair in pairs):
        yield "One seed shows no spread, so no difference is judged. Three or more seeds show it."
    if not judged:
        return
    yield (
        "Intervals cover the choice of seeds, not the choice of test images. "
        f"{_what_was_adjusted(judged)}"
    )
    if any(pair.difference.n == 2 for pair in judged):
        yield (
            "From two seeds, a 95 % interval is 13 times as wide as the two values are apart. "
            f"{more_seeds}"
        )
    undetected = [pair for pair in judged if not pair.detected]
    if undetected:
        brackets = (
            " In brackets: a true difference of this size would show in 4 of 5 comparisons of this "
            "n, with this spread over seeds."
        )
        has_brackets = any(pair.detectable is not None for pair in undetected)
        yield (
            f"'{NO_DIFFERENCE}' does not mean that there is none.{brackets if has_brackets else ''}"
        )
    with_margin = [pair.equivalence for pair in judged if pair.equivalence is not None]
    if with_margin:
        yield (
            "Equivalence: by two one-sided tests at 5 %, the 90 % interval must lie within "
            f"±{with_margin[0].margin:g}. The p of several such tests are adjusted (Holm), too, "
            "which asks for more."
        )


def _what_was_adjusted(judged: list[Pair]) -> str:
    """Return which verdicts hold at 95 % by themselves, and which together."""
    primary = [pair for pair in judged if pair.primary]
    others = len(judged) - len(primary)
    metric = " or ".join(dict.fromkeys(METRIC_NAMES[pair.metric] for pair in primary))
    adjusted = "their p is adjusted (Holm), their intervals are not."
    if len(primary) > 1 and others > 1:
        return (
            f"The {len(primary)} verdicts on the primary metric, {metric}, are at 95 % together, "
            f"and so are the {others} on the other metrics: {adjusted}"
        )
    sentences = []
    if len(primary) == 1:
        sentences.append(f"The primary metric, {metric}, is judged at 95 % by itself.")
    elif primary:
        verdicts = f"{len(primary)} verdicts on the primary metric, {metric},"
        sentences.append(f"The {verdicts} are at 95 % together: {adjusted}")
    if others == 1:
        sentences.append("The other verdict is at 95 % by itself.")
    elif others:
        sentences.append(f"The {others} other verdicts are at 95 % together: {adjusted}")
    return " ".join(sentences)


def _left_out_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield which pairs are not judged, and how to have them judged."""
    if comparison.criteria.pairs != "first" or not comparison.pairs:
        return
    for arms in comparison.groups:
        count = len(arms)
        left_out = (count - 1) * (count - 2) // 2
        if not left_out:
            continue
        among = "all pairs" if len(comparison.groups) == 1 else f"the pairs of {count} arms"
        yield (
            f"Of {among}, the {count - 1} with {in_words(arms[0].arm.name)} are "
            f"judged, and {left_out} {'are' if left_out > 1 else 'is'} left out: "
            f"`{comparison.ask_again} --pairs all` adds them and trains nothing again, but adjusts "
            "more verdicts together."
        )


def _lost_remarks(pairs: tuple[Pair, ...], ask_again: str) -> Iterator[str]:
    with_losses = [pair for pair in pairs if pair.lost]
    if any(pair.survivors_only for pair in with_losses):
        yield (
            "Survivors: as asked, pairs are judged although trials were lost. Which trials are "
            "lost may depend on the arm, and then these verdicts are biased."
        )
    elif with_losses:
        yield (
            "A pair that lost trials is not judged, since which are lost may depend on the arm. "
            f"`{ask_again} --survivors` judges those that are left."
        )


def _not_learned_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield which arms did not learn, why the first trial of each did not, and what that means."""
    arms = [result for result in comparison.arms if result.not_learned]
    for result in arms:
        first, count, of = result.not_learned[0], len(result.not_learned), len(result.completed)
        where = "in any trial" if count == of else f"in {count} of {of} trials"
        yield (
            f"{in_words(result.arm.name)} did not learn {where}. Seed {first.seed}: "
            f"{first.why_not_learned}"
        )
    if arms:
        yield (
            "A difference to an arm that did not learn shows just that, under these settings. It "
            "does not tell how good the arm's norm is."
        )


def _above_guessing_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield which arms learned and have a loss above that of guessing, and the first trial's."""
    for result in comparison.arms:
        if not (trials := result.above_guessing):
            continue
        count, of = len(trials), len(result.completed)
        where = "every trial" if count == of else f"{count} of {of} trials"
        yield (
            f"{in_words(result.arm.name)} ended with a loss above that of guessing in {where}. "
            f"Seed {trials[0].seed}: {trials[0].why_loss_above_guessing}"
        )


def _difference_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield each key other than the norm in which arms differ, with the arms of each value."""
    arms = [result.arm for result in comparison.arms]
    keys = list(dict.fromkeys(difference.key for difference in comparison.differences))
    if OPTIONS in keys and not _options_differ_within_a_norm(arms):
        keys.remove(OPTIONS)
    for key in keys:
        section, name = key.split(".")
        by_value: dict[str, list[str]] = {}
        for arm in arms:
            value = inline(arm.config.to_dict()[section][name])
            by_value.setdefault(value, []).append(arm.name)
        values = ", ".join(f"{value} in {listed(names)}" for value, names in by_value.items())
        who = listed(arm.name for arm in arms) if len(arms) == 2 else "The arms"
        yield f"{who} differ in {key}: {values}."
    norms = {arm.config.model.norm for arm in arms}
    if set(keys) - {OPTIONS} and len(norms) > 1:
        yield (
            "Where arms differ in more than the norm, no difference can be put down to the norm "
            "alone."
        )


def _options_differ_within_a_norm(arms: Sequence[Arm]) -> bool:
    """Return whether two arms give the same norm other options; those of two norms are theirs."""
    models = [arm.config.model for arm in arms]
    return any(
        a.norm == b.norm and a.norm_options != b.norm_options
        for a, b in itertools.combinations(models, 2)
    )


def _parity_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield what was measured of whether arms are the same function, and what need not be."""
    for parity in comparison.parity:
        yield parity.sentence
    if "parity" not in comparison.measures:
        if not comparison.parity:
            yield "Parity: not measured (--no-parity)."
        return
    measured = {parity.arm for parity in comparison.parity}  # older versions measured every arm
    for first, *others in comparison.networks:
        alike = [arm.name for arm in others if arm.name not in measured]
        if alike:
            norm = first.config.model.norm_call.rpartition("/")[2]
            yield (
                f"Parity: {listed((first.name, *alike))} are the same network with the same norm, "
                f"{norm}; there is nothing to measure."
            )


def _population_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield by how much the same weights predict better or worse with population statistics."""
    changes = []
    for result in comparison.arms:
        points = _population_points(result)
        if points and max(map(abs, points)) > NOTABLE_POINTS:
            low, high = f"{min(points):+.1f}", f"{max(points):+.1f}"
            changes.append(
                f"{in_words(result.arm.name)} {low}" + (f" to {high}" if high != low else "")
            )
    if changes:
        yield (
            "With population in place of moving statistics, the test accuracy of the same weights "
            f"changes by (points, over the trials): {', '.join(changes)}. That much depends on "
            "the moving average, which still holds statistics of earlier weights."
        )


def _population_points(result: ArmResult) -> list[float]:
    """Return the change in test accuracy, in percentage points, of each completed trial."""
    last = [trial.epochs[-1] for trial in result.completed]
    return [
        100 * (epoch.test_acc_population - epoch.test_acc)
        for epoch in last
        if epoch.test_acc_population is not None
    ]


def _one_accuracy_remarks(comparison: "Comparison") -> Iterator[str]:
    """Yield which arms keep no moving statistics, and what stands for their accuracy."""
    names = [
        result.arm.name
        for result in comparison.arms
        if result.completed and not result.keeps_moving_statistics
    ]
    if names:
        keep, predict = ("keeps", "it predicts") if len(names) == 1 else ("keep", "they predict")
        yield (
            f"{listed(names)} {keep} no moving statistics: {predict} in one way only, and that "
            "accuracy stands for both kinds in differences."
        )
