"""The one error for a user's mistake."""


class UserError(ValueError):
    """A mistake in a command, a config or a file that its user can mend.

    The message names the file or key, the value found, the value expected and the remedy. The command line prints it
    without a traceback.
    """
