"""Training: a generator of events that knows neither disk nor screen."""

from bnrun.training.device import device_name, pick_device
from bnrun.training.loop import train
from bnrun.training.model import build_model

__all__ = ["build_model", "device_name", "pick_device", "train"]
