"""One file per way of drawing codes from logits.

Imports the rest of samplers and what samplers may import.
"""
