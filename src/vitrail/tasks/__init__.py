"""One file per thing a user does with a model: values in, one small result out.

Imports model and the rows below it; never training.
"""
