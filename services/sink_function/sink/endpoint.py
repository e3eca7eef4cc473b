"""One push request: read, decode, make a row, wait for its commit, answer.

| answer | when | what Pub/Sub does |
|---|---|---|
| 204 | the row is in BigQuery, or the dead letter is in its topic | acknowledges |
| 400 to 415 | the request is no push of ours | sends again, then its own dead letters |
| 422 | poison, and the dead-letter topic did not take it | the same |
| 500 | the function's environment is wrong | sends again until it is mended |
| 503 | BigQuery or the sink is busy, down, or slow | sends again, backing off |
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

from google.auth.exceptions import GoogleAuthError
from starlette.responses import PlainTextResponse, Response

from sink.commit import Committer, Slots
from sink.dead_letter import DeadLetterError, DeadLetters
from sink.faults import PassingError, PoisonError, RefusedError
from sink.log import logger
from sink.push import Claim, PushedMessage, decode, memory, read
from sink.revision import code_digest
from sink.rows import TableSchema
from sink.settings import Settings, SettingsError
from sink.warehouse import Inserter

if TYPE_CHECKING:
    from starlette.requests import Request

_DONE = Response(status_code=204)
_PACKAGE = Path(__file__).parent
_SCHEMAS = _PACKAGE / "schema"


class MessageWriter:
    """Writes each message to its table, or to the dead letters: clients of one process.

    Raises:
        google.auth.exceptions.GoogleAuthError: there is no service account to act as.
    """

    def __init__(self, settings: Settings) -> None:
        inserter = Inserter(settings.tweets_table.split(".")[0], settings.bigquery_emulator)
        slots = Slots()
        posts = TableSchema(_SCHEMAS / "tweets.json", settings.tweets_table)
        events = TableSchema(_SCHEMAS / "stream_events.json", settings.events_table)
        self._routes = {
            "post": (posts, Committer(inserter, posts, slots)),
            "event": (events, Committer(inserter, events, slots, sink=code_digest(_PACKAGE))),
        }
        self._dead_letters = DeadLetters(settings.dead_letter_topic, self._routes["event"][1])

    async def write(self, message: PushedMessage) -> Response:
        """Write one message and answer; see the module's table."""
        try:
            await self._commit(message)
        except PoisonError as poison:
            return await self._bury(message, poison)
        return _DONE

    async def _commit(self, message: PushedMessage) -> None:
        """Write the row; without its JSON column where that alone keeps it out.

        Raises:
            PoisonError: partly_written in that case, since the message is not whole in its row.
        """
        kind = message.attributes.get("kind", "")
        if kind not in self._routes:
            known = " or ".join(self._routes)
            raise PoisonError(
                "malformed_message", f"attribute kind is {kind[:50]!r}, must be {known}"
            )
        schema, committer = self._routes[kind]
        row = schema.row(message)
        try:
            await committer.commit(row)
        except PoisonError as poison:
            lighter = schema.without_overflow(row)
            if lighter is None or not (
                poison.reason == "too_large" or poison.columns == {schema.overflow}
            ):
                raise
            await committer.commit(lighter)
            raise PoisonError(
                "partly_written", f"{poison}; the row is written without {schema.overflow}"
            ) from None

    async def _bury(self, message: PushedMessage, poison: PoisonError) -> Response:
        labels = {
            "message_id": message.id,
            "reason": poison.reason,
            "kind": message.attributes.get("kind", "")[:100],
            "id": message.attributes.get("id", "")[:100],
            "attempt": message.attempt,
        }
        try:
            await self._dead_letters.keep(message, poison)
        except DeadLetterError as error:
            logger.error(
                "message cannot become a row (%s), and the dead-letter topic did not take it: %s",
                poison,
                error,
                extra=labels,
            )
            return _answer(422, poison.reason, str(poison))
        logger.warning("message to the dead letters: %s", poison, extra=labels)
        return _DONE


class Endpoint:
    """The HTTP face; builds the writer on the first request, as functions-framework needs."""

    def __init__(self) -> None:
        self._writer: MessageWriter | None = None
        self._told = ""
        self._memory = memory()

    async def answer(self, request: Request) -> Response:
        """Answer one request; never raises for what a sender or BigQuery did."""
        whole = False
        try:
            writer = self._writer or self._open()
            with Claim(self._memory) as claim:
                body = await read(request.scope, request.receive, claim)
                whole = True
                message = decode(body)
                del body
                claim.values(message.data)
                return await writer.write(message)
        except RefusedError as error:
            logger.warning("request refused: %s", error, extra={"reason": error.reason})
            return _answer(error.status, error.reason, str(error), close=not whole)
        except PassingError as error:
            return _answer(503, "not_written", str(error), close=not whole)
        except (SettingsError, GoogleAuthError) as error:
            if str(error) != self._told:  # once, not for each message that waits
                self._told = str(error)
                logger.critical(
                    "the function cannot start: %s", error, extra={"reason": "settings"}
                )
            return _answer(500, "settings", str(error))

    def _open(self) -> MessageWriter:
        self._writer = MessageWriter(Settings.from_env(os.environ))
        # What is loaded by now stays, and a request leaves next to no cycles: the collector's walks
        # over both were a quarter of the CPU of a message (measured, bench/).
        gc.freeze()
        gc.set_threshold(20_000)
        return self._writer


def _answer(status: int, reason: str, detail: str, *, close: bool = False) -> Response:
    headers = {"Allow": "POST"} if status == 405 else {}
    if close:
        headers["Connection"] = "close"  # the rest of the body is not waited for
    return PlainTextResponse(f"{reason}: {detail}\n", status, headers)
