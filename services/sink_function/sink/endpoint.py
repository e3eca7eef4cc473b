"""One push request: read, decode, make a row, wait for its commit, answer.

| answer | when | what Pub/Sub does |
|---|---|---|
| 204 | the row is in BigQuery, or the dead letter is in its topic | acknowledges |
| 400, 405, 413, 415 | the request is no push of ours | sends again, then its own dead letters |
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
from sink.push import Intake, Message, decode
from sink.rows import RowSchema
from sink.settings import Settings, SettingsError
from sink.warehouse import Warehouse

if TYPE_CHECKING:
    from starlette.requests import Request

_DONE = Response(status_code=204)
_SCHEMAS = Path(__file__).parent / "schema"


class Sink:
    """The running sink: clients and committers of one process.

    Raises:
        google.auth.exceptions.GoogleAuthError: there is no service account to act as.
    """

    def __init__(self, settings: Settings) -> None:
        warehouse = Warehouse(settings.tweets_table.split(".")[0], settings.bigquery_emulator)
        slots = Slots()
        events = Committer(warehouse, settings.events_table, slots)
        self._routes = {
            "post": (
                RowSchema(_SCHEMAS / "tweets.json"),
                Committer(warehouse, settings.tweets_table, slots),
            ),
            "event": (RowSchema(_SCHEMAS / "stream_events.json"), events),
        }
        self._dead_letters = DeadLetters(settings.dead_letter_topic, events)

    async def write(self, message: Message) -> Response:
        """Write one message and answer; see the module's table."""
        try:
            kind = message.attributes.get("kind", "")
            if kind not in self._routes:
                known = " or ".join(self._routes)
                raise PoisonError(  # noqa: TRY301 - one place decides what becomes of poison
                    "malformed_message", f"attribute kind is {kind[:50]!r}, must be {known}"
                )
            schema, committer = self._routes[kind]
            await committer.commit(schema.row(message))
        except PoisonError as poison:
            return await self._bury(message, poison)
        return _DONE

    async def _bury(self, message: Message, poison: PoisonError) -> Response:
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
    """The HTTP face; builds the sink on the first request, as functions-framework needs."""

    def __init__(self) -> None:
        self._sink: Sink | None = None
        self._told = ""
        self._intake = Intake()

    async def answer(self, request: Request) -> Response:
        """Answer one request; never raises for what a sender or BigQuery did."""
        held = 0
        try:
            sink = self._sink or self._open()
            body = await self._intake.read(request.scope, request.receive)
            held = len(body)
            message = decode(body)
            del body
            return await sink.write(message)
        except RefusedError as error:
            logger.warning("request refused: %s", error, extra={"reason": error.reason})
            return _answer(error.status, error.reason, str(error))
        except PassingError as error:
            return _answer(503, "not_written", str(error))
        except (SettingsError, GoogleAuthError) as error:
            return self._misconfigured(error)
        finally:
            self._intake.release(held)

    def _open(self) -> Sink:
        self._sink = Sink(Settings.from_env(os.environ))
        # What is loaded by now stays, and a request leaves next to no cycles: the collector's walks
        # over both were a quarter of the CPU of a message (measured, bench/).
        gc.freeze()
        gc.set_threshold(20_000)
        return self._sink

    def _misconfigured(self, error: Exception) -> Response:
        if str(error) != self._told:  # once, not for each message that waits
            self._told = str(error)
            logger.critical("the function cannot start: %s", error, extra={"reason": "settings"})
        return _answer(500, "settings", str(error))


def _answer(status: int, reason: str, detail: str) -> Response:
    headers = {"Allow": "POST"} if status == 405 else None
    return PlainTextResponse(f"{reason}: {detail}\n", status, headers)
