"""One file per way of spoiling an input, each the same for the same seed.

Imports the rest of data and what data may import.
"""
