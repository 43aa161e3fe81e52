"""One file per feature net that metrics and perceptual losses can look through.

Imports the rest of networks and what networks may import.
"""
