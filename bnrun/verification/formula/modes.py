"""What switches between training and predicting, and when the moving statistics move.

PyTorch's layer looks at `module.training` alone, the textbook's at `torch.is_grad_enabled()` alone.
"""

from collections.abc import Callable

from bnrun.verification.fault import Choice, Fault, choices, wrong

Mode = Callable[[bool, bool], bool]  # from module.training and whether gradients are enabled
Moves = Callable[[bool], bool]  # from whether it trains

_CHECK_TRAINING = "Check `self.training`: train() and eval() set it, for a whole model at once."

# fmt: off
BY_MODULE: Choice[Mode] = wrong(
    "mode-follows-module", lambda training, grad: training,
    "The mode follows train() and eval(), not whether gradients are enabled.",
    "Check `torch.is_grad_enabled()`, as the textbook does.")
BY_GRADIENTS: Choice[Mode] = wrong(
    "mode-follows-gradients", lambda training, grad: grad,
    "The mode follows whether gradients are enabled: train() and eval() have no effect, so eval() "
    "alone does not predict, and train() under no_grad() does not train.",
    _CHECK_TRAINING)
MODES: tuple[Choice[Mode], ...] = choices(
    BY_MODULE,
    BY_GRADIENTS,
    wrong("mode-inverted", lambda training, grad: not training,
          "The mode is the wrong way round: it predicts after train(), and trains after eval().",
          "Use the batch's statistics if self.training, else the moving ones."),
    wrong("always-trains", lambda training, grad: True,
          "It always trains: after eval(), too, it normalizes with the batch and updates the "
          "moving statistics."),
    wrong("never-trains", lambda training, grad: False,
          "It never trains: after train(), too, it normalizes with the moving statistics and does "
          "not update them."),
    wrong("mode-needs-gradients", lambda training, grad: training and grad,
          "After train(), it trains only while gradients are enabled; under no_grad() it "
          "predicts, so statistics cannot be gathered without gradients."),
    wrong("eval-trains-with-gradients", lambda training, grad: training or grad,
          "After eval(), it still trains while gradients are enabled."),
    fix=_CHECK_TRAINING,
)

MOVES_WHEN_PREDICTING = Fault(
    "moves-when-predicting",
    "The moving statistics are updated when predicting, too: test images leak into the model.",
    "Update them under `if self.training:`, and only there.")
MOVES: tuple[Choice[Moves], ...] = choices(
    lambda trains: trains,
    Choice(lambda trains: True, MOVES_WHEN_PREDICTING),
    wrong("moves-only-when-predicting", lambda trains: not trains,
          "The moving statistics are updated when predicting, and not in training."),
    fix="Update them in training, and only there.",
)
