"""Calls to X with the stack's bearer token: rate limits waited out, X's own words in each error."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any
from urllib.parse import urlsplit

import requests

from operations.errors import OperationError, UnavailableError, WrongInputError
from operations.settings import Settings
from operations.text import harmless, tell
from producer.budget import UsageError, read_usage
from producer.reconcile import active_rules
from producer.rules import Rule
from producer.x_api import Kind, XApi, XRefusal, XRefusedError, XSession

_TRIES = 4
_WINDOW_SECONDS = 15 * 60
_TRANSFER_TIMEOUT = (10, 300)
_CHUNK = 65_536


class XAccount(XApi):
    """The X app behind the stack: its calls, limits waited out.

    Raises:
        producer.settings.SettingsError: no usable bearer token.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.token.read(), settings.api_base_url)
        self._called = -math.inf

    def call(
        self,
        method: str,
        route: str,
        params: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
        every: float = 0.0,
    ) -> dict[str, Any]:
        """Return the JSON that X answers, `every` seconds after the last such call at least.

        Raises:
            WrongInputError: X refuses the request or the token (400, 401); its words.
            UnavailableError: anything else that did not pass in four tries.
        """
        what = f"{method} {route}"
        attempt = 0
        while True:
            attempt += 1
            time.sleep(max(0.0, self._called + every - time.monotonic()))
            try:
                answer = super().call(method, route, params, json)
            except XRefusedError as error:
                refusal = error.refusal
                passing = refusal.kind is Kind.LIMIT or refusal.status >= 500
                if not passing or attempt == _TRIES:
                    raise _refused(refusal, what) from None
                if refusal.kind is Kind.LIMIT:
                    self._wait(refusal.reset)
                else:
                    time.sleep(attempt)
            except requests.RequestException as error:
                if attempt == _TRIES:
                    raise UnavailableError(
                        f"X is not reached for {what} ({type(error).__name__}): check the network "
                        "and, where it is set, X_API_BASE_URL"
                    ) from None
                time.sleep(attempt)
            else:
                self._called = time.monotonic()
                return dict(answer)

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules that are active on X."""
        try:
            return active_rules(self)
        except XRefusedError as error:
            raise _refused(error.refusal, "the stream's rules") from None

    def posts_used(self) -> int:
        """Return X's count of posts used in this billing month."""
        try:
            return read_usage(self).posts
        except UsageError as error:
            raise UnavailableError(f"X's usage could not be read: {error}") from None

    def put(self, address: str, body: IO[bytes]) -> None:
        """Upload to an address that X gave."""
        with self._transfer("PUT", address, body):
            pass

    def lines(self, address: str) -> Iterator[bytes]:
        """Download from an address that X gave; yield its lines, of 64 KB at most, as they come."""
        with self._transfer("GET", address, None) as answer:
            rest = b""
            for chunk in answer.iter_content(_CHUNK):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
                if len(rest) > _CHUNK:
                    raise UnavailableError("the compliance job's result has a line of over 64 KB")
            yield rest

    @contextlib.contextmanager
    def _transfer(
        self, method: str, address: str, body: IO[bytes] | None
    ) -> Iterator[requests.Response]:
        # X's own addresses want the token; those of a storage service must never see it.
        own = urlsplit(address).netloc == urlsplit(self._base_url).netloc
        session = self._session if own else XSession(None)
        headers = {"Content-Type": "text/plain"}
        try:
            with session.request(
                method, address, data=body, headers=headers, timeout=_TRANSFER_TIMEOUT, stream=True
            ) as answer:
                answer.raise_for_status()
                yield answer
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", None)
            # The address itself is a credential, and requests writes it into its messages.
            why = f"HTTP {status}" if status else type(error).__name__
            raise UnavailableError(
                f"the compliance job's file could not be moved ({method}): {why}"
            ) from None

    def _wait(self, reset: float | None) -> None:
        until = time.time() + 60 if reset is None else reset
        seconds = min(max(until - time.time() + 1, 1), _WINDOW_SECONDS)
        tell(f"X's rate limit is reached: waiting {seconds:.0f} s ...")
        time.sleep(seconds)


def _refused(refusal: XRefusal, what: str) -> OperationError:
    wrong = refusal.kind in (Kind.REQUEST, Kind.BEARER)
    kind = WrongInputError if wrong else UnavailableError
    # What the settings of the stream are to a 400 of the stream, its own words are to a command.
    fix = "" if refusal.kind is Kind.REQUEST else f": {refusal.kind}"
    return kind(f"X answers {what}: {harmless(refusal.words)}{fix}")
