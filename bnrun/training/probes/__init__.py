"""Probes: instruments that look at a running training and change nothing in it.

Every so many steps, each instrument takes a batch of its own through the network, and returns a few
numbers for each layer. Moving statistics, random numbers and the gradients of the training stay as
they are, so a training with probes ends at the same bits as one without. An instrument is a file
here; its docstring says what it measures and what a look costs, in passes through the network.
"""
