"""The model: codec, prior and data description, its folder on disk, and the recipe it is made from.

Imports codecs, priors and the rows below them.
"""
