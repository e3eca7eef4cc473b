"""What can go wrong in the local stack, one class an exit code."""


class StackError(Exception):
    """The stack can't go on: one line that says what, where and what to do (exit code 1)."""


class BadInputError(StackError):
    """A flag, a setting, a file or a port that can't be used (exit code 2)."""
