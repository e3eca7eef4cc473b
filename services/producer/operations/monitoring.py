"""Cloud Monitoring's figures of a Pub/Sub subscription: what waits, and for how long.

Pub/Sub itself tells neither. Source:
https://docs.cloud.google.com/monitoring/api/metrics_gcp_p_z (pubsub/subscription), which says that
a figure is up to four minutes old.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import google.auth
import requests
from google.auth.transport.requests import AuthorizedSession

from operations.errors import UnavailableError

ENDPOINT = "https://monitoring.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
_LOOK_BACK = timedelta(minutes=10)
_SECONDS = 30


class Backlog(NamedTuple):
    """Messages that wait for an acknowledgement, and the age of the oldest in seconds.

    The age is None where Monitoring has none of it though messages wait.
    """

    messages: int
    oldest: float | None


def read_backlog(endpoint: str, subscription: str) -> Backlog | None:
    """Return what waits on a subscription; None where Monitoring has no figure of it.

    Args:
        endpoint: ENDPOINT, or a stand-in's address, which wants no credentials.
        subscription: full name, projects/P/subscriptions/S.

    Raises:
        UnavailableError: Monitoring refuses, or answers something else.
        google.auth.exceptions.GoogleAuthError, requests.RequestException: it is not reached.
    """
    session: requests.Session = requests.Session()
    if endpoint == ENDPOINT:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    with session:
        messages = _newest(session, endpoint, subscription, "num_undelivered_messages")
        oldest = _newest(session, endpoint, subscription, "oldest_unacked_message_age")
    if messages is None:
        return None
    return Backlog(int(messages), oldest if messages else 0.0)


def _newest(
    session: requests.Session, endpoint: str, subscription: str, metric: str
) -> float | None:
    _, project, _, name = subscription.split("/")
    now = datetime.now(UTC)
    answer = session.get(
        f"{endpoint}/v3/projects/{project}/timeSeries",
        params={
            "filter": f'metric.type = "pubsub.googleapis.com/subscription/{metric}" '
            f'AND resource.labels.subscription_id = "{name}"',
            "interval.startTime": (now - _LOOK_BACK).isoformat(),
            "interval.endTime": now.isoformat(),
        },
        timeout=_SECONDS,
    )
    if not answer.ok:
        raise UnavailableError(
            f"Cloud Monitoring answers HTTP {answer.status_code}: {answer.text[:200]}"
        )
    try:
        series: list[Mapping[str, Any]] = answer.json().get("timeSeries") or []
        values = [
            float(point["value"]["int64Value"]) for each in series for point in each["points"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnavailableError("Cloud Monitoring answers with something else") from None
    # Newest first.
    return values[0] if values else None
