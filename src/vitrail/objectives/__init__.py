"""What judges outputs: likelihoods and other losses, each an unweighted term.

Imports networks, samplers, data and the rows below them.
"""
