"""bnrun: understand, verify and compare normalization layers."""

__version__ = "0.1.0"
