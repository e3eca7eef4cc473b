"""How a command ends when it does not end well. The message is the one line that is printed."""


class OperationError(Exception):
    """A command could not do its work."""

    exit_code = 1


class UnavailableError(OperationError):
    """A service did not answer, refused, or failed: exit code 1."""


class WrongInputError(OperationError):
    """What was asked for cannot be done as written: exit code 2."""

    exit_code = 2


class UnfinishedError(OperationError):
    """Part of the work is done and the rest can only be done later: exit code 3."""

    exit_code = 3
