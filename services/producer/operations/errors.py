"""How a command ends when it does not end well. The message is the one line that is printed."""

import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

from producer.settings import SettingsError


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


def explained(error: Exception) -> tuple[str, int] | None:
    """Return the line to print for an error and the exit code; None for a fault of ours."""
    if isinstance(error, OperationError):
        return str(error), error.exit_code
    if isinstance(error, SettingsError):
        return str(error), 2
    if isinstance(error, NotFound):
        return f"Google Cloud has no such thing: {error.message}; check the name", 2
    if isinstance(error, RetryError):
        return (
            "Google Cloud does not answer: check the network and, where they are set, "
            f"PUBSUB_EMULATOR_HOST and BIGQUERY_EMULATOR_HOST ({error.cause or error})",
            1,
        )
    if isinstance(error, GoogleAPICallError):
        return f"Google Cloud does not do it: {error}", 1
    if isinstance(error, DefaultCredentialsError):
        return "no Google Cloud credentials here: run gcloud auth application-default login", 1
    if isinstance(error, (GoogleAuthError, requests.RequestException, ConnectionError)):
        return f"Google Cloud is not reached: {error}", 1
    return None
