"""What switches between training and predicting, as functions of (module.training, grad enabled).

PyTorch's layer asks `module.training` alone; the textbook's asks `torch.is_grad_enabled()` alone.
"""

from collections.abc import Callable

from bnrun.verification.known.fault import Choice, Fault

Mode = Callable[[bool, bool], bool]

_ASK_TRAINING = "Ask `self.training`: train() and eval() set it, also for a whole model at once."

BY_MODULE: Choice[Mode] = Choice(
    lambda training, grad: training,
    Fault(
        "mode-follows-module",
        "The mode follows train() and eval(), not whether gradients are enabled.",
        "Ask `torch.is_grad_enabled()`, as the textbook does.",
    ),
)
BY_GRADIENTS: Choice[Mode] = Choice(
    lambda training, grad: grad,
    Fault(
        "mode-follows-gradients",
        "The mode follows whether gradients are enabled: train() and eval() have no effect, so "
        "eval() alone does not predict, and train() under no_grad() does not train.",
        _ASK_TRAINING,
    ),
)
MODES: tuple[Choice[Mode], ...] = (
    BY_MODULE,
    BY_GRADIENTS,
    Choice(
        lambda training, grad: not training,
        Fault(
            "mode-inverted",
            "The mode is the wrong way round: it predicts after train(), and trains after eval().",
            "Use the batch's statistics if self.training, else the moving ones.",
        ),
    ),
    Choice(
        lambda training, grad: True,
        Fault(
            "always-trains",
            "It always trains: after eval(), too, it normalizes with the batch and moves the "
            "moving statistics.",
            _ASK_TRAINING,
        ),
    ),
    Choice(
        lambda training, grad: False,
        Fault(
            "never-trains",
            "It never trains: after train(), too, it normalizes with the moving statistics and "
            "leaves them alone.",
            _ASK_TRAINING,
        ),
    ),
    Choice(
        lambda training, grad: training and grad,
        Fault(
            "mode-needs-gradients",
            "After train() it trains only while gradients are enabled; under no_grad() it "
            "predicts, so statistics can't be gathered without gradients.",
            _ASK_TRAINING,
        ),
    ),
    Choice(
        lambda training, grad: training or grad,
        Fault(
            "eval-trains-with-gradients",
            "After eval() it still trains while gradients are enabled.",
            _ASK_TRAINING,
        ),
    ),
)

MOVES: tuple[Choice[Callable[[bool], bool]], ...] = (
    Choice(lambda trains: trains),
    Choice(
        lambda trains: True,
        Fault(
            "moves-when-predicting",
            "The moving statistics move when predicting, too: test images leak into the model.",
            "Update them only in training.",
        ),
    ),
    Choice(
        lambda trains: not trains,
        Fault(
            "moves-only-when-predicting",
            "The moving statistics move when predicting, and not in training.",
            "Update them in training, and then alone.",
        ),
    ),
)
