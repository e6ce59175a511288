"""Judging what was observed: the checks, and how each comes out."""
