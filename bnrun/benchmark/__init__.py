"""The benchmark: training speed against the textbook's loop, norm by norm and engine by engine."""
