"""One file per named model: a function that returns a frozen Recipe.

Imports training, tasks and the rows below them.
"""
