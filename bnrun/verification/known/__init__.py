"""The known mistakes: each a formula as people get it wrong, and two sentences about it.

To teach bnrun another one, add it to the list of the part that it is a mistake in.
"""
