"""How different two samples look, one measure per file.

May import networks, data and the rows below them.
"""
