"""Likelihoods of the data given the decoder's output, one per file. May import types and errors."""
