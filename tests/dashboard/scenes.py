"""Four days of a stream as tables hold them: live, paused by the budget, down, and empty."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.dashboard.store import Store, event, post

TEXTS = (
    ("ko", "오늘 데이터 파이프라인이 드디어 돌아간다 🎉 #데이터엔지니어링", "데이터엔지니어링"),
    ("ko", "비 오는 날엔 고양이 사진 ☔️🐱 #고양이", "고양이"),
    ("en", "Streaming posts into BigQuery, one row at a time 🚀 #BigQuery", "BigQuery"),
    ("en", "My cat has learned to open doors 🐈 #cats", "cats"),
    ("ja", "猫が窓辺で寝ている 😴 #猫", "猫"),
    ("es", "El gato duerme al sol ☀️ #gatos", "gatos"),
)
AUTHORS = ("dahye", "minsu", "ben", "cara", "neko", "luz", "omar", "ines")
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def now() -> datetime:
    """This second, UTC."""
    return datetime.now(UTC).replace(microsecond=0)


def posts(store: Store, start: datetime, end: datetime, number: int = 1200) -> None:
    """So many synthetic posts between two moments, in waves; none in [-350 s, -300 s)."""
    rows = []
    for index in range(1, number + 1):
        share = index / number
        wave = timedelta(seconds=8 * math.sin(share * 40))
        at = min(start + (end - start) * share + wave, end)
        if 300 < (now() - at).total_seconds() < 350:
            continue
        kind = (index * index + index // 7) % 11 % len(TEXTS)
        lang, text, hashtag = TEXTS[kind]
        rows.append(
            post(
                index,
                at,
                lang=lang,
                text=text,
                hashtags=[hashtag],
                author_id=index * 7 % 19 % 8,
                author_username=AUTHORS[index * 7 % 19 % 8],
                rule_tags=["data"] if kind in (0, 2) else ["cats"],
                inserted_at=f"{at + timedelta(milliseconds=180 + index * 37 % 140):%FT%T.%f}Z",
            )
        )
    store.posts(*rows)


def history(store: Store, used: int = 8231, connected: bool = True) -> None:
    """Events of a reader at work for days: usage, gaps of three kinds, dead letters."""
    at = now()
    store.events(
        event("s", "started", at - 12 * DAY),
        *([event("c", "connected", at - 300 * SECOND)] if connected else []),
        event("u0", "usage", at - 5 * DAY, posts_used=used - 2600, post_budget=10000),
        event("u", "usage", at - MINUTE, posts_used=used, post_budget=10000),
        event("g", "gap", at - 300 * SECOND, gap_from=at - 350 * SECOND,
              gap_to=at - 300 * SECOND, reason="disconnected"),
        event("h", "gap", at - 600 * SECOND, gap_from=at - 640 * SECOND,
              gap_to=at - 600 * SECOND, reason="http_503"),
        event("b", "backfilled", at - 200 * SECOND, gap_from=at - 640 * SECOND,
              gap_to=at - 600 * SECOND, reason="backfill", detail='{"reposts": false}'),
        *(event(f"d{n}", "dead_letter", at - (500 + n) * SECOND, reason="malformed_line")
          for n in range(3)),
        event("x", "a_kind_of_tomorrow", at - MINUTE, reason="<b>new</b>"),
    )  # fmt: skip


def live(store: Store) -> None:
    """Posts until twelve minutes from now, which the page meets as time goes on."""
    posts(store, now() - 29 * MINUTE, now() + 12 * MINUTE, 3100)
    history(store)


def paused(store: Store) -> None:
    """The budget was used up four minutes ago."""
    at = now() - 4 * MINUTE
    posts(store, now() - 29 * MINUTE, at - SECOND, 1700)
    history(store, used=9990)
    until = (at.replace(day=1) + 32 * DAY).replace(day=1, hour=0, minute=0, second=0)
    store.events(
        event("p", "budget_paused", at, reason="budget", posts_used=9990, post_budget=10000,
              detail=f'{{"until": "{until:%FT%TZ}"}}')
    )  # fmt: skip


def down(store: Store) -> None:
    """X closed the stream two minutes ago and has not let the reader in since."""
    at = now() - 2 * MINUTE
    posts(store, now() - 31 * MINUTE, at - SECOND, 2000)
    history(store)
    store.events(event("e", "disconnected", at, reason="http_503", gap_from=at))


def empty(store: Store) -> None:
    """A reader that has just connected, and no post yet."""
    store.events(
        event("s", "started", now() - 70 * SECOND), event("c", "connected", now() - 69 * SECOND)
    )


SCENES: dict[str, Callable[[Store], None]] = {
    "live": live, "paused": paused, "down": down, "empty": empty,
}  # fmt: skip
