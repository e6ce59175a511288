"""Studies: what texts and papers claim about normalization, as experiments with verdicts.

A claim is data (`claim`), a rule decides it from one number a seed (`rules`), and a study measures
these numbers for its claims (one file a study). What is expected is written down with the claim,
and committed before the first run.
"""
