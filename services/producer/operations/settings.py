"""Where the commands work: flags first, then the environment names that the services use."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from operations import monitoring
from operations.errors import WrongInputError
from producer.settings import XToken, base_url

_NAMES = {
    "topic": ("projects/PROJECT/topics/TOPIC", r"projects/[^/\s]+/topics/[^/\s]+"),
    "dead_letter_subscription": (
        "projects/PROJECT/subscriptions/SUBSCRIPTION",
        r"projects/[^/\s]+/subscriptions/[^/\s]+",
    ),
    "dataset": ("PROJECT.DATASET", r"[a-z0-9.:-]*[a-z0-9]\.[A-Za-z0-9_]+"),
}


@dataclass(frozen=True)
class Settings:
    """Names of the stack's parts; each is checked when a command asks for it.

    Attributes:
        token: where X's bearer token is found; it is read when X is first asked.
        api_base_url: https://api.x.com, or the stand-in's address.
        post_budget: posts a month, 0 where there is no guard.
        rules_file: the configured rules (--rules, RULES_FILE).
        state_dir: where the reader of this machine, or of this pod, keeps its store.
        monitoring_endpoint: Cloud Monitoring's address, or a stand-in's (MONITORING_ENDPOINT).
        table_expiration_days: what the program declares, 0 for ever; None where it is not named.
    """

    token: XToken
    api_base_url: str
    post_budget: int
    rules_file: Path | None
    state_dir: Path | None
    monitoring_endpoint: str
    table_expiration_days: int | None
    _given: Mapping[str, str]

    @classmethod
    def from_env(cls, environ: Mapping[str, str], options: argparse.Namespace) -> "Settings":
        """Read flags and environment.

        Raises:
            WrongInputError: a number cannot work.
            producer.settings.SettingsError: nor X_API_BASE_URL.
        """
        given = {
            name: value
            for name in _NAMES
            if (value := getattr(options, name, None) or environ.get(name.upper()))
        }
        if topic := environ.get("DEAD_LETTER_TOPIC"):
            # The name that infra/topic.py gives to the reader of the dead letters.
            reader = topic.replace("/topics/", "/subscriptions/") + "-reader"
            given.setdefault("dead_letter_subscription", reader)
        token_file = _path(environ.get("X_BEARER_TOKEN_FILE"))
        return cls(
            token=XToken(token_file, environ.get("X_BEARER_TOKEN")),
            api_base_url=base_url(environ),
            post_budget=_whole(environ, "POST_BUDGET", "0 for no guard") or 0,
            rules_file=getattr(options, "rules", None) or _path(environ.get("RULES_FILE")),
            state_dir=_path(environ.get("STATE_DIR")),
            monitoring_endpoint=environ.get("MONITORING_ENDPOINT") or monitoring.ENDPOINT,
            table_expiration_days=_whole(environ, "TABLE_EXPIRATION_DAYS", "0 for ever"),
            _given=given,
        )

    @property
    def topic(self) -> str:
        """Full name of the topic that posts and events are published to."""
        return self._named("topic")

    @property
    def dead_letter_subscription(self) -> str:
        """Full name of the pull subscription on the dead letters."""
        return self._named("dead_letter_subscription")

    @property
    def dataset(self) -> str:
        """project.dataset, which holds `tweets` and `stream_events`."""
        return self._named("dataset")

    @property
    def sink_subscription(self) -> str:
        """Full name of the subscription that pushes to the function, as infra/sink.py names it."""
        return self.topic.replace("/topics/", "/subscriptions/") + "-sink"

    def _named(self, name: str) -> str:
        flag, (form, pattern) = f"--{name.replace('_', '-')}", _NAMES[name]
        value = self._given.get(name)
        if value is None:
            raise WrongInputError(f"{name.upper()} is not set: give {flag} {form}")
        if not re.fullmatch(pattern, value):
            raise WrongInputError(f"{name.upper()} is {value!r}: must have the form {form}")
        return value


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _whole(environ: Mapping[str, str], name: str, zero: str) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise WrongInputError(f"{name} is {text!r}: must be a whole number, {zero}")
    return int(text)
