"""Foreign formats, one per file; nothing else of vitrail imports it. Imports model and the rows below it."""
