"""The error for a user's mistake, and its kind for what a file lost."""

from pathlib import Path


class UserError(ValueError):
    """A mistake in a command, a config or a file that its user can mend.

    The message names the file or key, the value found, the value expected and the remedy. The command line prints it
    without a traceback.
    """


class BadRecordError(UserError):
    """A record that cannot be read because its file is damaged or gone; others of the same data may be whole.

    Readers raise it for nothing else: it may be listed and, in training, skipped.

    Args:
        path: the file.
        reason: what was found, what was expected and what to do.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # both, so that it can be pickled
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
