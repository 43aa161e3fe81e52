"""Codecs: encoder, bottleneck and decoder as one thing that encodes and decodes.

Imports bottlenecks, objectives, metrics and the rows below them.
"""
