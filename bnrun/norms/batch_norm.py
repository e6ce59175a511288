"""Norm `scratch`: a batch normalization layer built on the formula alone, without PyTorch's."""

from typing import Any

import torch
from torch import Tensor, nn

from bnrun import kernels
from bnrun.norms import synchronized
from bnrun.norms.fused import batch_norm
from bnrun.norms.reference import check, check_rank
from bnrun.processes import ALONE, Processes


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe & Szegedy 2015), a drop-in for `nn.BatchNorm1d`, `2d` and `3d`.

    Formula: see `bnrun.norms.reference.batch_norm`; gradients: `bnrun.norms.fused`.

    Shapes: input (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W) with C = `num_features`;
    output the same.

    In training (`module.train()`), it normalizes by the batch's mean and biased variance, and
    updates `running_mean` and `running_var` with the mean and the unbiased variance. In evaluation
    (`module.eval()`), it normalizes by those two. Without them (`track_running_stats=False`), it
    normalizes by the batch in both modes.

    Args:
        num_features: the channel count C.
        eps: added to the variance, inside the root.
        momentum: the weight of the new batch in the moving statistics; None averages over all
            batches so far with equal weights.
        affine: whether to learn gamma (`weight`, starts at 1) and beta (`bias`, starts at 0).
        track_running_stats: whether to keep moving statistics.
        device, dtype: of the parameters and buffers.
        bias: whether to learn beta, where `affine`.

    The parameters, buffers and state_dict keys are those of PyTorch's layers: `weight`, `bias`,
    `running_mean`, `running_var` and `num_batches_tracked`, of shape (C,) and ().

    Where `processes` is set to several, an input in training is this process's share of a batch,
    which all of them normalize together: see `bnrun.norms.synchronized`.

    Raises, when called: see `reference.batch_norm`. These are the errors of PyTorch's layer for the
    rank of the input. One layer accepts all ranks, and an input of another dtype than its own.
    """

    _version = 2  # of the state_dict: from version 2 on, PyTorch's hold num_batches_tracked

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    processes: Processes = ALONE

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def vector() -> Tensor:
            return torch.empty(num_features, device=device, dtype=dtype)

        self.register_parameter("weight", nn.Parameter(vector()) if affine else None)
        self.register_parameter("bias", nn.Parameter(vector()) if affine and bias else None)
        self.register_buffer("running_mean", vector() if track_running_stats else None)
        self.register_buffer("running_var", vector() if track_running_stats else None)
        count = torch.tensor(0, dtype=torch.long, device=device)
        self.register_buffer("num_batches_tracked", count if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Set the moving mean to 0, the moving variance to 1 and the batch count to 0."""
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set gamma to 1 and beta to 0, and reset the moving statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x, of shape (N, C, ...); in training, update the moving statistics too."""
        check_rank(x)  # before the batch is counted
        updates = self.training and self.track_running_stats
        uses_buffers = self.track_running_stats or not self.training
        running_mean = self.running_mean if uses_buffers else None
        running_var = self.running_var if uses_buffers else None
        momentum = self._count_batch() if updates else 0.0
        arguments = (x, self.weight, self.bias, running_mean, running_var)
        if self.training and self.processes.is_distributed:
            y, moved_mean, moved_var = synchronized.batch_norm(
                *arguments, processes=self.processes, momentum=momentum, eps=self.eps
            )
        else:
            y, moved_mean, moved_var = batch_norm(
                *arguments,
                training=self.training or running_mean is None or running_var is None,
                momentum=momentum,
                eps=self.eps,
            )
        if updates:
            self._replace_moving_statistics(moved_mean, moved_var)
        return y

    def forward_in_pieces(self, x: Tensor, examples: int) -> Tensor:
        """Normalize x as if each `examples` of it were a batch; N must be a multiple of them.

        Outputs and moving statistics are, up to rounding, those of calling the layer for one piece
        after the other. It is one call for all of them: a call for each of 64 pieces took most of a
        training step.
        """
        vectors = (self.weight, self.bias, self.running_mean, self.running_var)
        check(x[:examples], *vectors, training=True)
        pieces = len(x) // examples
        gamma, beta = (
            None if vector is None else vector.repeat(pieces) for vector in (self.weight, self.bias)
        )
        y, mean, var = self.normalize_pieces(x, examples, gamma, beta)
        if self.track_running_stats:
            weights = _weights([self._count_batch() for _ in range(pieces)])
            for buffer, value in ((self.running_mean, mean), (self.running_var, var)):
                if buffer is not None and value is not None:
                    moved = weights.to(value) @ value.view(pieces, -1)
                    buffer.mul_(1 - weights.sum()).add_(moved)
        return y

    def normalize_pieces(
        self, x: Tensor, examples: int, gamma: Tensor | None, beta: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Normalize each `examples` of x by its own statistics, with gamma and beta of its own.

        Args:
            x: the input, whose length is a multiple of `examples`.
            examples: see above.
            gamma, beta: of shape (pieces * C,), piece after piece; None means 1 and 0.

        Returns:
            y, and each piece's mean and unbiased variance, (pieces * C,); None where the layer
            keeps no such moving statistic.
        """
        pieces, positions = len(x) // examples, x.shape[2:]
        # Moving statistics that start anywhere and move with momentum 1 are those of the pieces.
        starts = [
            None if buffer is None else buffer.repeat(pieces)
            for buffer in (self.running_mean, self.running_var)
        ]
        if x.numel() and kernels.supports_batch_norm(x, gamma, beta, *starts):
            return kernels.batch_norm(
                x, gamma, beta, *starts, momentum=1.0, eps=self.eps, pieces=pieces
            )
        folded = x.reshape(pieces, examples, *x.shape[1:]).transpose(0, 1)
        folded = folded.reshape(examples, -1, *positions)
        y, mean, var = batch_norm(
            folded, gamma, beta, *starts, training=True, momentum=1.0, eps=self.eps
        )
        y = y.view(examples, pieces, *x.shape[1:]).transpose(0, 1)
        return y.reshape(x.shape), mean, var

    def as_kernel_norm(self) -> kernels.Norm | None:
        """Return what a kernel needs to compute this layer on the way from one layer to the next.

        None where the layer must be called: a subclass may compute something else; without moving
        statistics, or with equal weights for all batches, its formula is another; with other
        processes, it needs theirs; and a kernel takes a negative eps for the lack of a norm.
        """
        mean, var, count = self.running_mean, self.running_var, self.num_batches_tracked
        if type(self) is not BatchNorm or self.momentum is None or not self.eps >= 0:
            return None
        if not self.track_running_stats or (self.training and self.processes.is_distributed):
            return None
        if mean is None or var is None or count is None:
            return None
        return kernels.Norm(self.weight, self.bias, mean, var, count, self.momentum, self.eps)

    def _count_batch(self) -> float:
        """Count this batch, and return its weight in the moving statistics."""
        if self.num_batches_tracked is None:  # a user removed the buffer: there is no count
            return self.momentum or 0.0
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            return 1.0 / float(self.num_batches_tracked)
        return self.momentum

    def _replace_moving_statistics(self, mean: Tensor | None, var: Tensor | None) -> None:
        """Write the statistics into the buffers in place: other references see them, too."""
        for buffer, value in ((self.running_mean, mean), (self.running_var, var)):
            if buffer is not None and value is not None and value is not buffer:
                with torch.no_grad():
                    buffer.copy_(value)

    def extra_repr(self) -> str:
        """Show the arguments, as `print(module)` lists them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        """Load a state_dict, also of version 1, in which PyTorch's layers did not count batches."""
        version = local_metadata.get("version")
        if self.num_batches_tracked is not None and (version is None or version < 2):
            state_dict.setdefault(f"{prefix}num_batches_tracked", self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def _weights(momenta: list[float]) -> Tensor:
    """Return what each batch weighs in an average that is updated with these momenta in turn."""
    weights, kept = [], 1.0
    for momentum in reversed(momenta):
        weights.append(momentum * kept)
        kept *= 1 - momentum
    return torch.tensor(weights[::-1], dtype=torch.float64)
