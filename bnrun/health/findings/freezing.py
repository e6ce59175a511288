"""Findings: parts that are frozen halfway.

Freezing a batch norm takes two steps: `requires_grad_(False)` stops γ and β, `eval()` stops the
moving statistics. `model.train()` undoes the second one.
"""

from collections.abc import Iterator, Sequence

from bnrun.health.evidence import Evidence, NormPlace
from bnrun.health.finding import Finding, Kind, in_deviations, in_words

ALONE_APART = 0.01
"""Distance of a norm's output for one example alone and in a batch that rounding cannot make."""

STILL_MOVE = Kind(
    "frozen-but-moving",
    "γ and β are frozen, and the statistics still move",
    "requires_grad is False, and after model.train() the norm is in training mode",
)
UNDONE = Kind(
    "freeze-undone",
    "Norms are in eval() as built, and model.train() undoes that",
    "in eval() beside norms in train(), and in training mode after model.train()",
)
STILL_LEARN = Kind(
    "statistics-frozen",
    "Statistics are frozen, and γ and β still learn",
    "requires_grad is True, and after model.train() the norm is in evaluation mode",
)
IN_TRAINING = Kind(
    "training-after-eval",
    "A part stays in training mode after model.eval()",
    "training is True after model.eval(), or after a forward pass that follows it; or such a pass "
    "calls F.batch_norm with training=True, or a batch norm's output (or the network's, where a "
    "function applies the norm's γ or β alone) for one example alone lies "
    f"{ALONE_APART:g} deviations or more from that within a batch",
)
KINDS: tuple[Kind, ...] = (IN_TRAINING, STILL_MOVE, UNDONE, STILL_LEARN)

_EACH = "for name in NORMS: model.get_submodule(name)"


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    yield from _in_training(evidence)
    norms = list(evidence.moving_norms())
    moving = [one for one in norms if _is_frozen(one) and one.training_after_train]
    moving = [one for one in moving if one.momentum != 0]
    if moving:
        yield STILL_MOVE.finding(
            "warning",
            (one.name for one in moving),
            evidence=f"in {_of(moving, norms)} requires_grad is False, and training is True after "
            "model.train()",
            message="Without gradients γ and β stay, but every forward pass in train() moves the "
            "moving statistics, under no_grad, too: predictions change.",
            fix=f"{_EACH}.eval()  # after each model.train()",
            norms=len(moving),
        )
    undone = [
        one
        for one in norms
        if not one.training and one.training_after_train and not _is_frozen(one)
    ]
    if undone and len(undone) < len(norms) and any(one.training for one in norms):
        yield UNDONE.finding(
            "warning",
            (one.name for one in undone),
            evidence=f"in {_of(undone, norms)} training is False as built, and True after "
            "model.train()",
            message="The next model.train() puts them back into training mode: their statistics "
            "move, and γ and β learn.",
            fix=f"{_EACH}.eval().requires_grad_(False)  # after each model.train()",
            norms=len(undone),
        )
    learning = [
        one
        for one in norms
        if not one.training_after_train and (one.gamma_learns or one.beta_learns)
    ]
    if learning:
        yield STILL_LEARN.finding(
            "warning",
            (one.name for one in learning),
            evidence=f"in {_of(learning, norms)} training is False after model.train(), and "
            "requires_grad is True",
            message="γ and β learn on statistics that no longer follow the weights before them.",
            fix=f"{_EACH}.requires_grad_(False)  # or let them train, by .train()",
            norms=len(learning),
        )


def _in_training(evidence: Evidence) -> Iterator[Finding]:
    moving = list(evidence.moving_norms())
    left = [one for one in moving if one.training_after_eval]
    if left:
        yield _of_norms(
            left,
            f"in {_of(left, moving)} training is True after model.eval()",
            "In your train(self, mode=True), call super().train(mode) and return self; change "
            "parts only if mode is True.",
        )
    put_back = [one for one in moving if one.training_after_pass and one not in left]
    if put_back:
        yield _of_norms(
            put_back,
            f"in {_of(put_back, moving)} training is False after model.eval(), and True after the "
            "forward pass that follows",
            f"delete the call of .train() on {in_words(put_back[0].name)} in your forward",
        )
    rest = [one for one in moving if takes_batch(one) and one not in left + put_back]
    others = [one for one in rest if one.takes_batch_after_eval]
    if others:
        yield _of_norms(
            others,
            "a forward pass after model.eval() calls F.batch_norm with training=True on the values "
            f"of {_of(others, moving)}",
            "F.batch_norm(..., training=self.training), or call the norm itself",
        )
    own = [one for one in rest if one not in others]
    if own:
        yield _by_outputs(own, moving)
    dropouts = [one for one in evidence.layers if one.kind == "dropout" and one.training_after_eval]
    if dropouts:
        yield IN_TRAINING.finding(
            "warning",
            (one.name for one in dropouts),
            evidence=f"dropout layers with training=True after model.eval(): {len(dropouts)}",
            message="Predictions are random.",
            fix="In your train(self, mode=True), call super().train(mode) and return self.",
            dropouts=len(dropouts),
        )


def _by_outputs(norms: Sequence[NormPlace], moving: Sequence[NormPlace]) -> Finding:
    """Return the finding of norms whose output for one example depends on its batch."""
    worst = max(norms, key=lambda one: one.alone_apart)
    return _of_norms(
        norms,
        f"in {_of(norms, moving)}: after model.eval() the output of "
        f"{in_words(worst.name if worst.calls else '')} for one example alone lies "
        f"{in_deviations(worst.alone_apart)} from that within its batch",
        "use the batch's statistics where self.training is True, and the moving ones elsewhere",
    )


def _of_norms(norms: Sequence[NormPlace], evidence: str, fix: str) -> Finding:
    return IN_TRAINING.finding(
        "error",
        (one.name for one in norms),
        evidence=evidence,
        message="A prediction depends on what else is in its batch, and may move the moving "
        "statistics.",
        fix=fix,
        norms=len(norms),
    )


def takes_batch(norm: NormPlace) -> bool:
    """Return whether a norm predicts with batch statistics, by what it or a function does."""
    return norm.takes_batch_after_eval or norm.alone_apart >= ALONE_APART


def _is_frozen(norm: NormPlace) -> bool:
    """Return whether a norm has γ or β, and none learns, in a class that can move.

    A FrozenBatchNorm holds everything in buffers, and has neither a momentum nor a count.
    """
    can_move = norm.has_momentum or norm.batches_tracked is not None
    learns = [one for one in (norm.gamma_learns, norm.beta_learns) if one is not None]
    return can_move and bool(learns) and not any(learns)


def _of(some: Sequence[NormPlace], norms: Sequence[NormPlace]) -> str:
    return f"{len(some)} of {len(norms)} norms"
