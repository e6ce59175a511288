"""What is observed of a norm: experiments, each of which returns plain values.

Nothing is judged here. This is the part that runs somebody else's code, so it may raise, hang, or
end its process: `workers.py` runs it where that does no harm.
"""

from bnrun.verification.observe.experiment import Experiment, Observation, Values, attempt
from bnrun.verification.observe.formula import FORMULA
from bnrun.verification.observe.keeping import KEEPING
from bnrun.verification.observe.module import MODULE
from bnrun.verification.observe.offered import OFFERED

EXPERIMENTS: dict[str, Experiment] = FORMULA | KEEPING | MODULE | OFFERED

__all__ = ["EXPERIMENTS", "Experiment", "Observation", "Values", "attempt"]
