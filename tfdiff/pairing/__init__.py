"""Which variable, row, batch part or random draw of one run is which of the other, and by what evidence.

Used by the recorder (to give run b the start of run a) and by the comparison. Every function here is pure NumPy/SciPy.
"""
