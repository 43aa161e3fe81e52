"""Reading data: sources, loading, degradations and the modalities that read, write and preview.

Imports types, errors and catalog, nothing else of vitrail.
"""
