"""One file per kind of data: how it is read, written and previewed.

Imports the rest of data and what data may import.
"""
