"""Work over many runs: sweep trains every combination of some settings and says which is worth its bits.

Imports training, tasks and the rows below them.
"""
