"""Circuits of qubits as layers of a network: one description, several ways to run it.

Imports torch, and PennyLane where it is asked for; nothing here knows of codecs, data or training.
"""
