"""Scores of pictures, codes and feature sets: pure functions of tensors. May import networks, types and errors."""
