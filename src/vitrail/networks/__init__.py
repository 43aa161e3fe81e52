"""Networks: tensors in, tensors out; single-device, and ignorant of losses and data.

Imports types and errors, nothing else of vitrail.
"""
