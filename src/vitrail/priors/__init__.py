"""One file per distribution over a codec's latents.

Imports bottlenecks, objectives, metrics and the rows below them.
"""
