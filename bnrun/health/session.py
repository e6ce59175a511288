"""A network under audit, which does one act after another: in this process, or in a worker.

Each act is short (one batch, once), so that progress is seen, Ctrl-C is heard and a time limit
means something. Between two acts the network is as it was given.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from bnrun.errors import BnrunError, DataError, NetworkError
from bnrun.health import outputs, trials
from bnrun.health.batches import MOST_BYTES, Batch, to_batch
from bnrun.health.evidence import Evidence, Loading, Mode, Outputs, Raised, Record, Seen, Trial
from bnrun.health.network import Substitute, build_network, open_data
from bnrun.health.norm_places import (
    count_parameters,
    describe,
    find_norms,
    modes_by_name,
)
from bnrun.health.passes import Structure, Watch, observe_layers, restored
from bnrun.health.weights import load_weights
from bnrun.norms.population import MergedStatistics
from bnrun.norms.user_module import own_line
from bnrun.workers import Worker, WorkerLost

MOST_REFINED = 20
"""Norms up to which population statistics are refined by further passes. Those of mode `batch` are
a first estimate. A pass with them corrects it, but an error of one norm may grow in the next ones:
in EfficientNet-B0 (49 norms) accuracy fell from 0.30 to 0.13; exact statistics have 0.29."""

LIMIT = "within the time limit"
"""How a worker says that something did not finish."""


class Job(NamedTuple):
    """An act of a session, by name, and its arguments."""

    act: str
    arguments: tuple[Any, ...] = ()


class Session:
    """A network, its data, and what has been observed so far.

    Args:
        network: what the user calls it.
        model: the network.
        data: yields what `to_batch` takes; None without data.
        loading: what loading the weights gave.
        steps: of training, as the user says.
        substitute: what the user's code runs in.
    """

    def __init__(
        self,
        network: str,
        model: nn.Module,
        data: Iterator[Any] | None,
        loading: Loading | None = None,
        steps: int | None = None,
        substitute: Substitute | None = None,
    ) -> None:
        self._network, self.model, self._data = network, model, data
        self._loading, self._steps = loading or Loading(), steps
        self._substitute = substitute or Substitute()
        self._norms = find_norms(model)
        self._batches: list[Batch] = []
        self._bytes = 0
        self._ended = False
        self._structure: Structure | None = None
        self._watches: dict[Mode, Watch] = {}
        self._outputs: dict[Mode, outputs.Seen] = {}
        self._raised: list[Raised] = []
        self._trials: list[Trial] = []
        self._population: dict[str, tuple[Tensor, Tensor]] = {}
        self._is_refined = False

    def run(self, job: Job) -> Any:
        """Do an act, and return its answer.

        Raises:
            BnrunError: it cannot be done.
        """
        act: Callable[..., Any] = getattr(self, f"_{job.act}")
        return act(*job.arguments)

    # ---- data

    def _read(self) -> tuple[int, bool]:
        """Read one more batch; return its examples, 0 at the end, and whether memory is full.

        Raises:
            DataError: the user's code raised, or yields something else.
        """
        assert self._data is not None
        try:
            with self._substitute.running(), torch.no_grad():
                item = next(self._data)
        except StopIteration:
            self._ended = True
            return 0, False
        except BnrunError:
            raise
        except Exception as error:
            raise DataError(
                f"it raised at batch {len(self._batches) + 1}: {type(error).__name__}: {error}"
                f"{own_line(error)}",
                "--data",
            ) from error
        batch = item if isinstance(item, Batch) else to_batch(item, self.model)
        if batch.examples == 0:
            shape = tuple(next(batch.tensors()).shape)
            raise DataError(
                f"batch {len(self._batches) + 1} has no examples: its shape is {shape}. Leave such "
                "batches out.",
                "--data",
            )
        self._batches.append(batch)
        self._bytes += batch.bytes
        return batch.examples, self._bytes >= MOST_BYTES

    # ---- passes

    def _observe_layers(self) -> None:
        """Send the first batch through, to see the layers in the order of their calls.

        Raises:
            NetworkError: the network raised.
        """
        batch = self._batches[0]
        while self._structure is None:
            try:
                with restored(self.model, 0), self._substitute.running():
                    self.model.eval()
                    self._structure = observe_layers(self.model, self._norms, batch)
            except Exception as error:
                if not self._substitute.is_needed(error):
                    shapes = ", ".join(str(tuple(one.shape)) for one in batch.tensors())
                    raise NetworkError(
                        f"it raised at the first batch, of shape {shapes}: "
                        f"{type(error).__name__}: {error}{own_line(error)}",
                        "NETWORK",
                    ) from error
        order = list(self._structure.layers)
        self._norms.sort(key=lambda one: order.index(one.name) if one.name in order else len(order))

    def _pass(self, mode: Mode, index: int) -> bool:
        """Send a batch through in a mode; return whether that went well."""
        batch = self._batches[index]
        if not (batch.predicted or batch.measured) or (mode == "training" and not batch.measured):
            return True
        watch = self._watches.setdefault(mode, Watch(self._norms, mode))
        try:
            with restored(self.model, index), self._substitute.running():
                self._set_mode(mode)
                output = watch.pass_batch(self.model, batch, index)
                if batch.predicted:
                    self._outputs.setdefault(mode, outputs.Seen()).add(output, batch.targets)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            self._raised.append(Raised(mode, index, batch.examples, watch.inside, message))
            return False
        return True

    def _set_mode(self, mode: Mode) -> None:
        self.model.train(mode == "training")
        if mode == "population":
            for norm in self._norms:
                if norm.moving is not None and norm.name in self._population:
                    norm.moving.replace(*self._population[norm.name])

    def _take_population(self, mode: Mode) -> bool:
        """Take the statistics that the passes of a mode saw as the population's.

        Return whether passes with them would refine them.
        """
        watch = self._watches.get(mode)
        for name, seen in ({} if watch is None else watch.by_norm).items():
            if seen.merged.count > 1:
                self._population[name] = (seen.merged.mean, _unbiased(seen.merged))
        if mode == "population":  # a first estimate, refined by these passes
            self._watches.pop(mode, None)
            self._outputs.pop(mode, None)
            self._is_refined = True
        return len(self._population) <= MOST_REFINED

    def _try_inputs(self) -> None:
        """Try changed inputs, where the first norm does not fit its moving statistics."""
        with restored(self.model, 0), self._substitute.running():
            self.model.eval()
            self._trials = trials.try_inputs(self.model, self._norms, self._batches)

    # ---- the result

    def _evidence(self) -> Evidence:
        """Return all that was observed."""
        after = (
            modes_by_name(self.model, self.model.train),
            modes_by_name(self.model, self.model.eval),
        )
        return Evidence(
            network=self._network,
            norms=tuple(
                describe(
                    norm,
                    training=norm.module.training,
                    training_after_train=after[0][norm.name],
                    training_after_eval=after[1][norm.name],
                    **self._observed(norm.name),
                )
                for norm in self._norms
            ),
            layers=() if self._structure is None else self._structure.records(*after),
            batches=tuple(batch.examples for batch in self._batches if batch.measured),
            ended=self._ended,
            outputs=self._compared_outputs(),
            raised=tuple(self._raised),
            trials=tuple(self._trials),
            loading=self._loading,
            steps=self._steps,
            parameters=count_parameters(self.model),
            passes=len(self._watches) + self._is_refined,
        )

    def _observed(self, name: str) -> dict[str, Any]:
        """Return what the passes saw of a norm, as fields of its record."""
        if self._structure is None:
            return {}
        seen: dict[Mode, Seen] = {}
        for mode, watch in self._watches.items():
            record = watch.by_norm[name].record()
            if record is not None:
                seen[mode] = record
        axes = self._watches["training"].by_norm[name].axes if "training" in self._watches else None
        moving = self._watches.get("moving")
        return {
            "calls": self._structure.calls(name),
            "is_called": self._is_called(name),
            "is_read": name in self._structure.norms_read,
            "training_after_pass": name in self._structure.norms_in_training,
            "takes_batch_after_eval": name in self._structure.norms_of_batch,
            "input_shape": self._structure.shapes.get(name, ()),
            "dropout_before": self._structure.dropouts_before(name),
            "seen": seen,
            "axes": None if axes is None else axes.over,
            "groups": 1 if axes is None else axes.groups,
            "alone_apart": self._alone_apart(name),
            "non_finite": (0, 0) if moving is None else tuple(moving.by_norm[name].non_finite),
        }

    def _alone_apart(self, name: str) -> float:
        """Return how far one example comes out otherwise alone: of a norm, or behind it."""
        assert self._structure is not None
        if name in self._structure.norms_by_hand:
            return self._structure.alone_apart
        moving = self._watches.get("moving")
        return 0.0 if moving is None else moving.by_norm[name].alone_apart

    def _is_called(self, name: str) -> bool:
        """Return whether any pass calls a norm; True without a whole pass in training mode."""
        trains = "training" in self._watches and all(one.mode != "training" for one in self._raised)
        return not trains or any(one.by_norm[name].is_called for one in self._watches.values())

    def _compared_outputs(self) -> Outputs:
        drift: dict[str, float] = {}
        if "moving" in self._watches and "population" in self._watches:
            one, other = self._watches["moving"].by_norm, self._watches["population"].by_norm
            drift = {
                norm.name: outputs.distance(one[norm.name].samples, other[norm.name].samples)
                for norm in self._norms
                if one[norm.name].samples and self._keeps_moving()
            }
        judged = self._outputs.get("moving", outputs.Seen())
        return Outputs(
            accuracies=outputs.accuracies(self._outputs),
            distances=outputs.distances(self._outputs),
            drift=drift,
            examples=sum(batch.examples for batch in self._batches if batch.predicted),
            classes=judged.classes,
        )

    def _keeps_moving(self) -> bool:
        """Return whether any norm keeps moving statistics."""
        return any(norm.moving is not None for norm in self._norms)

    def _recalibrated(self) -> dict[str, Tensor]:
        """Return the network's state with population statistics in place of the moving ones.

        Its weights are the network's own tensors: a large one has many, and they stay as they are.
        """
        with restored(self.model, 0):
            self._set_mode("population")
            state = self.model.state_dict()
            learned = dict(self.model.named_parameters())
            return {
                name: own if name in learned else own.clone()
                for name, one in state.items()
                if isinstance(one, Tensor)
                for own in (one.as_subclass(Tensor).detach().cpu(),)
            }

    def _substituted(self) -> bool:
        """Return whether the user's code asked for a GPU that is not there."""
        return self._substitute.is_used


def _unbiased(merged: MergedStatistics) -> Tensor:
    return merged.var * (merged.count / (merged.count - 1))


def open_session(
    network: str, weights: str | None, data: str | None, steps: int | None, device: str
) -> Callable[[Job], Any]:
    """Load a network, its weights and its data; return what runs jobs.

    Raises:
        BnrunError: one of them cannot be loaded.
    """
    substitute = Substitute()
    model = build_network(network, substitute)
    loading = Loading() if weights is None else load_weights(model, weights)
    model.to(device)
    batches = None if data is None else open_data(data, substitute)
    return Session(network, model, batches, loading, steps, substitute).run


class InProcess:
    """Runs a session in this process, for a network that is an object here."""

    printed = 0

    def __init__(self, session: Session) -> None:
        self.run = session.run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class InWorker:
    """Runs a session in a separate process, within a time limit for each act.

    Args:
        arguments: of `open_session`.
        limit: seconds that building the network, and each batch, may take.
    """

    def __init__(self, arguments: tuple[Any, ...], limit: float) -> None:
        self._limit = limit
        self._batches_read = 0
        self._worker = Worker(
            "building the network",
            open_session,
            arguments,
            limit,
            records=Record.__subclasses__(),
            with_children=True,
        )

    @property
    def printed(self) -> int:
        """Return how many lines the user's code has printed."""
        return self._worker.printed

    def __enter__(self) -> Self:
        try:
            self._worker.__enter__()
        except BnrunError as error:
            if error.key is None:  # of the worker, which hung or ended
                raise NetworkError(self._with_hint(error.reason), "NETWORK") from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__()

    def run(self, job: Job) -> Any:
        """Run an act.

        Raises:
            NetworkError: the process hung or ended.
        """
        try:
            answer = self._worker.run(job)
        except WorkerLost as lost:
            what, key = "the network", "NETWORK"
            if job.act == "read":
                self._batches_read += 1
                what, key = f"batch {self._batches_read} of the data", "--data"
            elif job.act == "observe_layers":
                what += " at batch 1"
            elif job.act == "pass":
                what += f" at batch {job.arguments[1] + 1}"
            raise NetworkError(self._with_hint(f"{what} {lost}."), key) from lost
        self._batches_read += job.act == "read"
        return answer

    def _with_hint(self, reason: str) -> str:
        """Return the reason of a lost process, with what helps where it only needs time."""
        if LIMIT not in reason:
            return reason
        return (
            f"{reason.replace(LIMIT, f'{LIMIT} of {self._limit:g} s')} If it only needs more time: "
            "--time-limit SECONDS."
        )


Observer = InProcess | InWorker
