"""Training: the loop, its steps, checkpoints, processes and reports.

Imports model and the rows below it; never tasks.
"""
