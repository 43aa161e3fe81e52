"""The report of a run: one HTML file that shows what was trained, how it went, and how to repeat it.

Imports training, model, metrics and the rows below; nothing in a run depends on a report.
"""

from vitrail.training.report.page import write

__all__ = ["write"]
