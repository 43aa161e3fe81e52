"""One file per discriminator that a recipe can name.

Imports the rest of networks and what networks may import.
"""
