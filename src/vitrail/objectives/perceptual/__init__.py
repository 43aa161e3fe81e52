"""How different two samples look, one measure per file.

May import networks and the rows below them.
"""
