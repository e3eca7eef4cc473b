"""GET and POST /2/tweets/search/stream/rules: the rules of the stream.

Limits are X's: 1,000 rules of 1,024 characters, which is also one page. As at X, one rule's fault
does not fail the request: it is told in `errors` and counted in `meta.summary`, with status 200
(201 where a rule was made). dry_run counts only when it is exactly "true": tweepy 4.17 sends "True"
for dry_run=True, which here, as `x-api.md` found for X, adds or deletes for real.
"""

import time
from typing import Any

import orjson
from aiohttp import web

from local.x.posts import ActiveRule
from local.x.problems import TYPE, InvalidRequestError, answer
from local.x.query import Node, QueryError, parse
from local.x.snowflake import Snowflakes, stamp
from local.x.state import XState

MAX_RULES = 1000
MAX_LENGTH = 1024


class RulesEndpoint:
    """The active rules by id."""

    def __init__(self, state: XState) -> None:
        self.active: dict[str, ActiveRule] = {}
        self._timeline = state.timeline
        self._ids = Snowflakes(state.settings.seed)

    async def get(self, _: web.Request) -> web.Response:
        """List the rules."""
        meta = {"sent": _now(), "result_count": len(self.active)}
        data = {"data": [rule.shown() for rule in self.active.values()]} if self.active else {}
        return answer({**data, "meta": meta})

    async def post(self, request: web.Request) -> web.Response:
        """Add (`{"add": [{value, tag}]}`) or delete (`{"delete": {"ids": [...]}}`)."""
        dry = request.query.get("dry_run") == "true"
        try:
            match orjson.loads(await request.read()):
                case {"add": [{"value": str()}, *_] as wanted}:
                    return self.add(wanted, dry=dry)
                case {"delete": {"ids": [str(), *_] as ids}}:
                    return self.delete(ids, dry=dry)
        except orjson.JSONDecodeError:
            raise InvalidRequestError("The request body is not valid JSON") from None
        raise InvalidRequestError(
            "The request must have either `add` or `delete`, and it must not be empty"
        )

    def add(self, wanted: list[dict[str, str]], *, dry: bool) -> web.Response:
        """Add rules; those with a fault are told in `errors`, the others are added."""
        made: list[ActiveRule] = []
        errors: list[dict[str, Any]] = []
        known = {rule.value: rule.id for rule in self.active.values()}
        for item in wanted:
            value = item["value"].strip()
            fault: dict[str, Any]
            if value in known:
                fault = {"id": known[value], "title": "DuplicateRule", "type": "duplicate-rules"}
            elif len(self.active) + len(made) >= MAX_RULES:
                words = f"You have exceeded the maximum number of rules ({MAX_RULES})."
                fault = {"title": "RulesCapExceeded", "details": [words], "type": "rule-cap"}
            else:
                try:
                    node = _parsed(value)
                except QueryError as error:
                    title = "UnprocessableEntity"
                    fault = {"title": title, "details": [str(error)], "type": "invalid-rules"}
                else:
                    number = str(self._ids.next(int(time.time() * 1000)))
                    made.append(ActiveRule(number, value, item.get("tag"), node))
                    known[value] = number
                    continue
            errors.append({"value": item["value"], **fault, "type": f"{TYPE}{fault['type']}"})
        if made and not dry:
            self.active.update({rule.id: rule for rule in made})
            self._timeline.use(self.active.values())
        invalid = sum(error["title"] != "DuplicateRule" for error in errors)
        summary = {
            "created": len(made),
            "not_created": len(errors),
            "valid": len(wanted) - invalid,
            "invalid": invalid,
        }
        body: dict[str, Any] = {"meta": {"sent": _now(), "summary": summary}}
        if made:
            body["data"] = [rule.shown() for rule in made]
        if errors:
            body["errors"] = errors
        return answer(body, 201 if made else 200)

    def delete(self, ids: list[str], *, dry: bool) -> web.Response:
        """Delete rules by id; an unknown one is told in `errors`."""
        gone = [item for item in dict.fromkeys(ids) if item in self.active]
        missing = [item for item in dict.fromkeys(ids) if item not in self.active]
        if gone and not dry:
            for item in gone:
                del self.active[item]
            self._timeline.use(self.active.values())
        summary = {"deleted": len(gone), "not_deleted": len(missing)}
        body: dict[str, Any] = {"meta": {"sent": _now(), "summary": summary}}
        if missing:
            body["errors"] = [
                InvalidRequestError(f"Rule does not exist: {item}", "id", item).body
                for item in missing
            ]
        return answer(body)


def _parsed(value: str) -> Node:
    if len(value) > MAX_LENGTH:
        words = f"Rule length {len(value)} exceeds the maximum of {MAX_LENGTH} characters"
        raise QueryError(words, MAX_LENGTH + 1)
    return parse(value)


def _now() -> str:
    return stamp(int(time.time() * 1000))
