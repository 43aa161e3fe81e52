"""Samplers: functions of a callable, which know no model and keep no state.

Imports types and errors, nothing else of vitrail.
"""
