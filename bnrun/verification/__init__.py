"""Is this batch normalization right, and if not, what is wrong with it?

Experiments run the norm and return plain values (`experiment.py`). They are compared with a formula
in float64 (`recipe.py`), and with that formula with the known mistakes in it (`formula/`). The
fewest mistakes that give the same numbers are the diagnosis (`diagnose.py`, `search.py`), by which
every check is judged. `topics/` has the experiments and the checks, one file a topic; `verify.py`
puts it all together. `doctor.py` examines torch's own norms.
"""
