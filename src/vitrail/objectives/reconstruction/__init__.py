"""One file per likelihood of the data given the decoder's output.

Imports the rest of objectives and what objectives may import.
"""
