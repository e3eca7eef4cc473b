"""GET and POST /2/tweets/search/stream/rules: the rules of the stream.

Limits are X's: 1,000 rules of 1,024 characters. As at X, one rule's fault does not fail the
request: it is told in `errors` and counted in `meta.summary`, with status 200 (201 where a rule
was made). dry_run counts only when it is exactly "true": tweepy 4.17 sends "True" for
dry_run=True, which here, as `x-api.md` found for X, adds or deletes for real.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from local.x.posts import ActiveRule
from local.x.problems import TYPE, InvalidRequestError, answer, wrong
from local.x.query import QueryError, parse
from local.x.snowflake import Snowflakes, stamp

MAX_RULES = 1000
MAX_LENGTH = 1024


class RulesEndpoint:
    """The active rules; on_change is told of every change with the new list."""

    def __init__(self, on_change: Callable[[list[ActiveRule]], None], machine: int) -> None:
        self.active: dict[str, ActiveRule] = {}
        self._on_change = on_change
        self._ids = Snowflakes(machine)

    async def get(self, request: web.Request) -> web.Response:
        """List the rules: all, some by `ids`, in pages of `max_results` (1..1000)."""
        query = request.query
        rules = list(self.active.values())
        if "ids" in query:
            wanted = query["ids"].split(",")
            rules = [rule for rule in rules if rule.id in wanted]
        try:
            size = int(query.get("max_results", MAX_RULES))
            start = int(query.get("pagination_token", "0"), 36)
        except ValueError:
            raise InvalidRequestError("max_results and pagination_token must be valid") from None
        if not 1 <= size <= MAX_RULES:
            raise wrong("max_results", size, f"between 1 and {MAX_RULES}")
        page = rules[start : start + size]
        meta: dict[str, Any] = {"sent": _now(), "result_count": len(page)}
        if start + size < len(rules):
            meta["next_token"] = _base36(start + size)
        return answer(
            {"data": [rule.shown() for rule in page], "meta": meta} if page else {"meta": meta}
        )

    async def post(self, request: web.Request) -> web.Response:
        """Add (`{"add": [{value, tag}]}`) or delete (`{"delete": {"ids" or "values": [...]}}`)."""
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise InvalidRequestError("The request body is not valid JSON") from None
        dry = request.query.get("dry_run") == "true"
        if isinstance(body, dict) and len(body) == 1:
            add, delete = body.get("add"), body.get("delete")
            if isinstance(add, list) and add and all(_is_rule(item) for item in add):
                return self.add(add, dry=dry)
            if isinstance(delete, dict) and any(
                isinstance(delete.get(k), list) for k in ("ids", "values")
            ):
                return self.delete(delete, dry=dry)
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
            fault = self._fault(value, known, len(self.active) + len(made))
            if fault:
                errors.append({"value": item["value"], **fault})
                continue
            rule = ActiveRule(
                str(self._ids.next(int(time.time() * 1000))), value, item.get("tag"), parse(value)
            )
            known[value] = rule.id
            made.append(rule)
        if made and not dry:
            self.active.update({rule.id: rule for rule in made})
            self._on_change(list(self.active.values()))
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

    def _fault(self, value: str, known: Mapping[str, str], count: int) -> dict[str, Any] | None:
        if value in known:
            return {"id": known[value], "title": "DuplicateRule", "type": TYPE + "duplicate-rules"}
        if count >= MAX_RULES:
            return {
                "title": "RulesCapExceeded",
                "details": [f"You have exceeded the maximum number of rules ({MAX_RULES})."],
                "type": TYPE + "rule-cap",
            }
        details = ""
        if len(value) > MAX_LENGTH:
            details = (
                f"Rule length {len(value)} exceeds the maximum of {MAX_LENGTH} characters "
                f"(at position {MAX_LENGTH + 1})"
            )
        else:
            try:
                parse(value)
            except QueryError as error:
                details = str(error)
        if not details:
            return None
        return {
            "details": [details],
            "title": "UnprocessableEntity",
            "type": TYPE + "invalid-rules",
        }

    def delete(self, wanted: dict[str, Any], *, dry: bool) -> web.Response:
        """Delete rules by id or value; an unknown one is told in `errors`."""
        by_value = {rule.value: rule.id for rule in self.active.values()}
        asked = [str(item) for item in wanted.get("ids") or ()]
        asked += [by_value.get(str(item), str(item)) for item in wanted.get("values") or ()]
        gone = [item for item in dict.fromkeys(asked) if item in self.active]
        missing = [item for item in dict.fromkeys(asked) if item not in self.active]
        if gone and not dry:
            for item in gone:
                del self.active[item]
            self._on_change(list(self.active.values()))
        summary = {"deleted": len(gone), "not_deleted": len(missing)}
        body: dict[str, Any] = {"meta": {"sent": _now(), "summary": summary}}
        if missing:
            body["errors"] = [
                {
                    "errors": [
                        {"parameters": {"id": [item]}, "message": f"Rule does not exist: {item}"}
                    ],
                    "title": "Invalid Request",
                    "detail": "One or more parameters to your request was invalid.",
                    "type": TYPE + "invalid-request",
                }
                for item in missing
            ]
        return answer(body)


def _is_rule(item: object) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("value"), str)
        and isinstance(item.get("tag", ""), str)
        and not set(item) - {"value", "tag"}
    )


def _now() -> str:
    return stamp(int(time.time() * 1000))


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits or "0"
