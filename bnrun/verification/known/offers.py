"""Faults of what a class offers its users, and of what it should refuse them."""

from bnrun.verification.known.fault import Fault

EPS_IGNORED = Fault(
    "eps-ignored",
    "The constructor's eps has no effect.",
    "Keep it (self.eps = eps) and use it in forward.",
)
MOMENTUM_IGNORED = Fault(
    "momentum-ignored",
    "The constructor's momentum has no effect.",
    "Keep it (self.momentum = momentum) and use it in the update.",
)
MOMENTUM_OF_OLD = Fault(
    "momentum-weighs-old",
    "The argument momentum is the weight of the old average; PyTorch's is that of the new batch.",
    "Pass 1 - momentum where PyTorch's is meant.",
    "Keras, Flax and the textbook",
)
MOMENTUM_NONE = Fault(
    "momentum-none-not-cumulative",
    "momentum=None is accepted, but the moving statistics are then not the plain average over all "
    "batches.",
    "Weigh the k-th batch by 1/k, or refuse None.",
)
AFFINE_IGNORED = Fault(
    "affine-false-ignored",
    "With affine=False the layer still has, or uses, gamma or beta.",
    "Leave both out then: y = x_hat.",
)
TRACK_IGNORED = Fault(
    "track-false-ignored",
    "With track_running_stats=False it still predicts with moving statistics.",
    "Keep none then, and normalize with the batch always.",
)
ONE_VALUE_ACCEPTED = Fault(
    "one-value-accepted",
    "One value per channel is accepted in training, though its variance is 0 whatever the value: "
    "the output is beta.",
    "Raise a ValueError, as PyTorch does: a batch of one image was hardly meant.",
    "Flax, Keras and the textbook",
)
ONE_VALUE_NOT_FINITE = Fault(
    "one-value-not-finite",
    "One value per channel in training gives NaN or infinity, without an error.",
    "Raise a ValueError in training when x.numel() == x.shape[1].",
)
ONE_VALUE_POISONS = Fault(
    "one-value-poisons",
    "One value per channel in training turns the moving variance into NaN or infinity for good: "
    "n/(n - 1) divides by 0.",
    "Raise a ValueError in training when x.numel() == x.shape[1].",
)
WRONG_CHANNELS_ACCEPTED = Fault(
    "wrong-channels-accepted",
    "An input with another number of channels than the layer was built for is accepted.",
    "Let the shapes of gamma, beta and the moving statistics depend on num_features, or check "
    "x.shape[1].",
)
