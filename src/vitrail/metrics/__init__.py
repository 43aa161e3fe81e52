"""Measures of quality, each with the protocol that makes two numbers comparable.

Imports networks, samplers, data and the rows below them.
"""
