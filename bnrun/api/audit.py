"""`audit`: what is wrong with the norms in a network?"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bnrun.events import drain
from bnrun.health.audit import MOST_BATCHES, audit_model
from bnrun.health.audit import audit as audit_target
from bnrun.health.evidence import Loading
from bnrun.health.norm_places import device_of
from bnrun.health.passes import preserved_random_numbers
from bnrun.health.report import Audit
from bnrun.health.weights import load_weights, weight_decay_by_name


def audit(
    model: nn.Module | str,
    batches: Any = None,
    *,
    weights: str | None = None,
    most_batches: int = MOST_BATCHES,
    steps: int | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    on_event: Callable[[object], object] = lambda event: None,
) -> Audit:
    """Find what is wrong with the norms in a network.

    A network that is given comes back as it was: its modes, statistics, gradients, hooks and the
    random numbers. It takes five passes over the batches at most, and memory for one at a time.

    Args:
        model: a network; or text that says where one is built, `path/to/file.py:build`, which runs
            in a process of its own.
        batches: what yields inputs, or (inputs, targets) for classification: a function, a
            generator, a list or a DataLoader; text for a model that is text. Inputs are a tensor, a
            tuple or a dict. None looks at the network alone.
        weights: a file whose weights are loaded first; into a network that is given, they stay.
        most_batches: how many batches are taken.
        steps: of training that the network has had.
        optimizer: the one that trains it, whose weight decay on γ and β is looked at.
        on_event: called with a `Stage` before each batch.

    Returns:
        The audit: `verdict`, `healthy` or `ill`; `findings`, each with its severity, layers,
        evidence, message and fix; and `evidence`, what was observed.

    Raises:
        NetworkError: the network or its weights cannot be loaded, or it raised at the first batch.
        DataError: the batches are nothing that can be passed to it.

    Example:
        >>> import torch
        >>> import bnrun
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))
        >>> network[1].num_batches_tracked += 100  # trained, and then reset
        >>> result = bnrun.audit(network, [torch.rand(16, 4), torch.rand(16, 4)], steps=100)
        >>> result.findings[0].id, result.verdict
        ('never-updated', 'ill')
    """
    if isinstance(model, str):
        work = audit_target(model, weights=weights, data=batches, batches=most_batches, steps=steps)
        return drain(work, on_event)[0]
    with preserved_random_numbers(device_of(model)):  # the user's data draws from them, too
        loading = Loading() if weights is None else load_weights(model, weights)
        if optimizer is not None:
            loading = _with_optimizer(loading, model, optimizer)
        work = audit_model(model, batches, batches=most_batches, steps=steps, loading=loading)
        return drain(work, on_event)[0]


def _with_optimizer(
    loading: Loading, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Loading:
    """Return a record of loading with the weight decay that an optimizer applies."""
    names = {id(one): place for place, (_, one) in enumerate(model.named_parameters())}
    groups = [
        {**group, "params": [names[id(one)] for one in group["params"] if id(one) in names]}
        for group in optimizer.param_groups
    ]
    return Loading(**{**vars(loading), "weight_decay": weight_decay_by_name(model, groups)})
