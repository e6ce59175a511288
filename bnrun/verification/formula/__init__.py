"""The formula of batch normalization, part by part: each right, then as people get it wrong.

The first of each list is right. To teach bnrun another mistake of the formula, add it to the list
of its part; nothing else needs to know.
"""
