"""Errors that a user can cause. Each is one line: what, where, what to do; the CLI turns it into an exit code."""


class VitrailError(Exception):
    """Anything vitrail refuses on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(VitrailError, ValueError):
    """The request itself is wrong: an unknown name, a misspelt field, a value of the wrong type."""

    exit_code = 2


class DataError(VitrailError, ValueError):
    """The data cannot be used: missing, empty, unreadable, or of another shape than the model's."""

    exit_code = 3


class ModelError(VitrailError, ValueError):
    """A model folder is refused: unreadable, tampered with, or written by a newer format."""

    exit_code = 4


class Interrupted(VitrailError):
    """Training stopped on SIGTERM, SIGINT or a full disk after a checkpoint; the same command resumes it."""

    exit_code = 5


class NotLearnt(VitrailError):
    """A run ended without having learnt, where the user asked for that to be an error."""

    exit_code = 6
