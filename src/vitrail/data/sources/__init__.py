"""One file per place that data comes from: a folder, a bundled set, files of arrays.

Imports the rest of data and what data may import.
"""
