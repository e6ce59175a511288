"""Comparisons: arms trained on the same seeds, their parity, their speed, and what they show."""
