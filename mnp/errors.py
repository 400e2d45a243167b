"""The one exception a user meets: a single line that says what, where and what to do."""


class MnpError(ValueError):
    """A mistake in the input, not in the program.

    The message is one line: what is wrong, where, and what to do about it. The command line
    prints it without a traceback and exits with status 2.
    """
