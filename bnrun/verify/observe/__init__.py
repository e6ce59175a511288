"""What is observed of a norm: experiments, each of which returns plain values.

Nothing is judged here. This is the part that runs somebody else's code, so it may raise, hang, or
end its process: `isolated.py` runs it where that does no harm.
"""

from bnrun.verify.observe.experiment import Experiment, Observation, Values, attempt
from bnrun.verify.observe.formula import FORMULA
from bnrun.verify.observe.keeping import KEEPING
from bnrun.verify.observe.module import MODULE
from bnrun.verify.observe.offered import OFFERED

EXPERIMENTS: dict[str, Experiment] = FORMULA | KEEPING | MODULE | OFFERED

__all__ = ["EXPERIMENTS", "Experiment", "Observation", "Values", "attempt"]
