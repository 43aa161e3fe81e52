"""What discriminator and decoder want of each other, one kind of game per file.

May import networks and the rows below them.
"""
