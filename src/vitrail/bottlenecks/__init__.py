"""One file per bottleneck: what the encoder's output is squeezed through, with the terms that judge the latent.

Imports networks, samplers, data and the rows below them.
"""
