"""The audit: how well the norms of any network are, by evidence from its forward passes.

evidence.py   what was observed of the network: frozen records of plain values and tensors
passes.py     the forward passes that observe it
findings/     what the evidence says, one file a topic
audit.py      one audit from beginning to end
"""
