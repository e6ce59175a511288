"""Training: a generator of events that knows neither disk nor screen."""

from bnrun.training.device import device_name, pick_device
from bnrun.training.loop import train

__all__ = ["device_name", "pick_device", "train"]
