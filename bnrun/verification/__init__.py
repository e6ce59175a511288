"""Is this batch normalization right, and if not, what is wrong with it?

An implementation is observed in a process of its own (`observe/`). What was observed is held to a
formula in float64 (`recipe.py`), and to that formula with the known mistakes in it (`known/`). The
fewest mistakes that give the same numbers are the diagnosis (`diagnose.py`), by which every check
is judged (`judge/`).
"""
