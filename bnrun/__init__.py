"""Understand, verify and compare normalization layers: the Python interface of bnrun.

A session:

>>> import bnrun
>>> synthetic = {"data.name": "synthetic"}  # generated images; leave it out for Fashion-MNIST
>>> result = bnrun.train(norm="builtin", epochs=1, seed=1, overrides=synthetic)
>>> result.status
'completed'
>>> [layer.name for layer in bnrun.inspect_gamma(result).layers]
['norm1', 'norm2', 'norm3', 'norm4']

Functions:

- `verify`: is this batch normalization right, and if not, what is wrong with it?
- `audit`: what is wrong with the norms in a network of your own?
- `train`: train LeNet with a norm.
- `load_config`: a config, from a file or by the name of one that comes with bnrun.
- `inspect_gamma`: what have its norms learned?
- `evaluate`: how well does it predict, with moving, population and batch statistics?
- `recalibrate`: give its norms population statistics.
- `compare`: train norms, or anything else, on the same seeds; what do the differences show?
- `study`: which published claims about normalization hold here?
- `load_run`, `list_runs`, `load_comparison`: what earlier work left on disk.
- `load_data`: the images, as tensors.
- `doctor`: are torch's own norms right on this machine?
- `render`: any result as the text that the command line prints.
- `plot`: any result as a picture.

For test suites, `bnrun.testing.assert_normalizes` fails with the report of `verify`.

A norm is a name (`"scratch"`, `"builtin"`; `bnrun norms` lists them), a file and a class
(`"path/to/file.py:Class"`), a module and a class (`"package.module:Class"`), or a class itself.
A text may end with options for the constructor: `"builtin(momentum=0.01)"`.

Nothing is printed, and nothing is written unless `out=` names a folder. Results are frozen
records; their `to_dict()` is the document that the command prints with `--json`. Long work calls
`on_event` with each of its events (`bnrun.events`). Errors are subclasses of `BnrunError`.

The manual: `bnrun guide`, or bnrun/guide/python.md.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    # OpenMP's waiting threads sleep instead of spinning, unless the user has chosen. Spinning takes
    # the processor from other trainings on the machine: three at once on two cores took nine to
    # fourteen times as long as one. Before they sleep they spin for some 20 microseconds, within
    # which the next layer's loop starts: waking up for each took a third of a training's time
    # (guide/speed.md). OpenMP reads this once, when torch loads it; processes that are started from
    # here inherit it.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:  # `as` marks a name as exported
    from bnrun.api.audit import audit as audit
    from bnrun.api.comparison import compare as compare
    from bnrun.api.comparison import load_comparison as load_comparison
    from bnrun.api.configs import load_config as load_config
    from bnrun.api.data import load_data as load_data
    from bnrun.api.evaluation import evaluate as evaluate
    from bnrun.api.evaluation import inspect_gamma as inspect_gamma
    from bnrun.api.evaluation import recalibrate as recalibrate
    from bnrun.api.runs import list_runs as list_runs
    from bnrun.api.runs import load_run as load_run
    from bnrun.api.studies import study as study
    from bnrun.api.training import train as train
    from bnrun.api.verification import doctor as doctor
    from bnrun.api.verification import verify as verify
    from bnrun.comparison.result import Comparison as Comparison
    from bnrun.config import Config as Config
    from bnrun.errors import BnrunError as BnrunError
    from bnrun.errors import ConfigError as ConfigError
    from bnrun.errors import DataError as DataError
    from bnrun.errors import DeviceError as DeviceError
    from bnrun.errors import EngineError as EngineError
    from bnrun.errors import NetworkError as NetworkError
    from bnrun.errors import NormError as NormError
    from bnrun.errors import ProcessError as ProcessError
    from bnrun.errors import ProcessLost as ProcessLost
    from bnrun.errors import RunError as RunError
    from bnrun.errors import TrainingFailed as TrainingFailed
    from bnrun.health.report import Audit as Audit
    from bnrun.norms import BatchNorm as BatchNorm
    from bnrun.show.results import plot as plot
    from bnrun.show.results import render as render
    from bnrun.studies.study import StudyResult as StudyResult
    from bnrun.training.evaluation import Evaluation as Evaluation
    from bnrun.training.gamma_inspection import Inspection as Inspection
    from bnrun.training.result import TrainingResult as TrainingResult
    from bnrun.verification.doctor_result import Examination as Examination
    from bnrun.verification.report import Report as Report

_MODULES = {
    "audit": "bnrun.api.audit",
    "Audit": "bnrun.health.report",
    "compare": "bnrun.api.comparison",
    "load_comparison": "bnrun.api.comparison",
    "load_config": "bnrun.api.configs",
    "load_data": "bnrun.api.data",
    "plot": "bnrun.show.results",
    "render": "bnrun.show.results",
    "list_runs": "bnrun.api.runs",
    "load_run": "bnrun.api.runs",
    "evaluate": "bnrun.api.evaluation",
    "inspect_gamma": "bnrun.api.evaluation",
    "recalibrate": "bnrun.api.evaluation",
    "study": "bnrun.api.studies",
    "StudyResult": "bnrun.studies.study",
    "TrainingResult": "bnrun.training.result",
    "train": "bnrun.api.training",
    "doctor": "bnrun.api.verification",
    "verify": "bnrun.api.verification",
    "Comparison": "bnrun.comparison.result",
    "Config": "bnrun.config",
    "BnrunError": "bnrun.errors",
    "ConfigError": "bnrun.errors",
    "DataError": "bnrun.errors",
    "DeviceError": "bnrun.errors",
    "EngineError": "bnrun.errors",
    "NetworkError": "bnrun.errors",
    "NormError": "bnrun.errors",
    "ProcessError": "bnrun.errors",
    "ProcessLost": "bnrun.errors",
    "RunError": "bnrun.errors",
    "TrainingFailed": "bnrun.errors",
    "BatchNorm": "bnrun.norms",
    "Evaluation": "bnrun.training.evaluation",
    "Inspection": "bnrun.training.gamma_inspection",
    "Examination": "bnrun.verification.doctor_result",
    "Report": "bnrun.verification.report",
}
"""The module of each exported name, which is imported when the name is first used."""

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bnrun' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
