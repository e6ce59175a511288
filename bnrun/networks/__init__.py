"""Networks to train: each takes a norm factory, and never asks which norm it is."""
