"""One file per network that a diffusion or flow prior learns with.

Imports the rest of networks and what networks may import.
"""
