"""What each check does, in a paragraph, by its name without a layout.

The checks are defined in `topics/`, each with a few words; a test holds this file to them. It needs
no torch, so that shells can complete the names.
"""

import re
from collections.abc import Mapping

_STATE = "A new layer gets random parameters and statistics, and a random batch"
DOES: Mapping[str, str] = {
    "forward in training": f"{_STATE} in training. Its output is compared with the formula's.",
    "forward when predicting": f"{_STATE} after eval(). Its output is compared with the formula's.",
    "variance far below eps": "The same with inputs and moving variances near 1e-6, where eps "
    "decides: one of another size, or in another place, shows.",
    "bfloat16 input": "The output for an input of bfloat16 is compared with the formula's, rounded "
    "once at the end, and rounded before gamma scales it: that shows in which dtype it is "
    "computed.",
    "one example alone": "The first example of a batch is run alone, too: its output must be the "
    "same.",
    "one position alone": "The first position of a sequence is run alone, too: its output must be "
    "the same, whatever stands elsewhere.",
    "one value by itself": "Each value has statistics of its own, so that its variance is 0: the "
    "output is finite, or a clear error.",
    "no moving statistics": "A new layer is searched for moving statistics, which its family does "
    "not have.",
    "large mean, small spread": "The inputs have a mean of 1e6 (1e3 in float32) and a spread near "
    "1. A variance computed as E[x²] - E[x]² loses its digits there.",
    "channels of one value": "Every variance is 0. The output is beta, and the gradient is finite "
    "only with eps inside the root.",
    "tiny and odd shapes": "New layers get batches of 1, 2, 3 and 7 examples, single channels, "
    "single positions, and as many columns as channels: shapes that an accidental broadcast or a "
    "wrong count does not survive.",
    "gradients in training": f"{_STATE} in training, and y a random gradient g. The gradients of "
    "x, gamma and beta are compared with the formula's.",
    "gradients when predicting": f"{_STATE} after eval(), and y a random gradient g. The gradients "
    "of x, gamma and beta are compared with the formula's.",
    "finite differences in training": "x, gamma and beta are moved a little along a random "
    "direction, and back. How far the output moves is compared with the gradients. That says "
    "whether they belong to the output, right or wrong as that may be.",
    "finite differences when predicting": "The same after eval().",
    "second derivatives": "The gradients are differentiated once more, along a random direction, "
    "and compared with how they move when the inputs move a little. A gradient penalty needs this.",
    "gradient handed in": "The gradient of y is handed in as it is, 100.3 times as large, and "
    "transposed in memory. The gradient of x must be the same, as much larger, and the same; and "
    "what was handed in must be unchanged.",
    "non-contiguous input": "The same values as a slice, and as a transpose, of another tensor: "
    "the output must be that of a contiguous copy.",
    "channels_last input": "The same images in channels_last: the output must be that of a "
    "contiguous copy.",
    "float64 kept": "Inputs and parameters in float64 must give an output in float64, with its "
    "precision: nothing on the way is computed in float32.",
    "many values in half precision": "In float16 or bfloat16 alone: a batch of 100,000 values per "
    "channel in training. Their sum is larger than float16's largest number.",
    "input left unchanged": "The input is compared with a copy of it after the forward pass.",
    "same output twice": "Two new layers with the same state get the same input.",
    "starting values": "A new layer is read out: gamma is 1, beta 0, the moving mean 0 and the "
    "moving variance 1.",
    "first update": f"{_STATE} in training. The moving statistics are compared with the formula's.",
    "updates in order": "The same over 12 batches, after each of them: averages that start "
    "differently, or weigh batches unequally, show.",
    "left alone when predicting": "The moving statistics are compared before and after a batch "
    "that the layer predicts.",
    "no graph kept": "Two batches go forward and backward. Afterwards no attribute may hold a "
    "tensor with a grad_fn, and the second backward pass must not reach into the first.",
    "memory over many steps": "After 40 batches in training, no tensor of theirs may be alive.",
    "many batches": "A layer trains 40 times on one batch, and predicts it. Each output must be "
    "the first one, each update of the moving statistics as the first 12 were, the prediction one "
    "by the moving statistics as they are then; and gamma and beta stay as they are.",
    "mode": "One value of the input stays, and all others change, after train() and after eval(), "
    "with gradients enabled and disabled. Where the output of that value changes, the batch's "
    "statistics are in use.",
    "trains again": "One layer trains, predicts, trains on a smaller batch and predicts. Each time "
    "its output is compared with that of a layer that did nothing in between.",
    "gradients on and off": "A batch in training under no_grad(), and a prediction with gradients "
    "enabled: output and moving statistics must be the usual ones.",
    "parameters": "gamma and beta must be parameters of one value per channel, which an optimizer "
    "changes, and the moving statistics must not be.",
    "state_dict": "A trained layer's state_dict is saved, and loaded into a new layer, which must "
    "then predict the same.",
    "after loading": "A layer trains on three batches, and its state is loaded into another one "
    "that has predicted before. Both must predict the same, and train on alike.",
    "deepcopy": "copy.deepcopy of a trained layer must predict the same, and training the copy "
    "must not change the original.",
    "pickle": "A layer that was pickled and loaded must predict the same, and share nothing.",
    ".double()": "A layer is built in float32, and .double() is called: gamma, beta and the moving "
    "statistics must be in float64 then, and the output the same.",
    "torch left alone": "Gradient mode, default dtype and random state of torch are compared "
    "before and after a forward pass.",
    "eps=": "A layer is built with eps=0.5, and its output compared with the formula's.",
    "momentum=": "A layer is built with momentum=0.3, and trained on two batches.",
    "momentum=None": "A layer is built with momentum=None: its moving statistics must be the plain "
    "average over all batches.",
    "affine=False": "A layer is built with affine=False: it must learn nothing, and return x_hat.",
    "normalized_shape=": "A layer is built for a shape of two dimensions, (3, 5): its statistics "
    "are taken over both, and gamma and beta have that shape.",
    "track_running_stats=False": "A layer is built with track_running_stats=False: it must predict "
    "with the statistics of the batch.",
    "one value per channel": "One value per channel has no variance, so PyTorch refuses it in "
    "training. A moving variance corrected by n / (n - 1) divides by 0.",
    "wrong channel count": "Inputs with fewer and with more channels than the layer was built for "
    "must be refused.",
}


def slug(check: str) -> str:
    """Return the name of a check as it is typed: `first-update`, `momentum-none`."""
    return re.sub(r"[^a-z0-9]+", "-", check.lower()).strip("-")
