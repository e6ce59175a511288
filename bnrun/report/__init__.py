"""The report: results as one HTML page to hand out, which works offline and in print.

    results.py -> sections of one form each -> page.py, templates/

A section says the verdict first, then what was done, one picture, the numbers folded, and the
command that repeats it.
"""
