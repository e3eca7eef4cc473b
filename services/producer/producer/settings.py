"""What the producer is told by its environment and its command line, checked once at start."""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from producer.fields import FURTHER, FieldsError, asked
from producer.log import hide
from producer.rules import Rule, RulesError, read_rules

# https://docs.cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_TOPIC = re.compile(r"projects/[a-z0-9][a-z0-9.:-]*/topics/[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
# https://www.rfc-editor.org/rfc/rfc6750#section-2.1, and the % of X's tokens.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/%]+=*")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class SettingsError(ValueError):
    """A setting that cannot work: its name, its value, the rule, the fix, in one line."""


@dataclass(frozen=True)
class XToken:
    """Where X's bearer token is found. A file is read again at each connect, so that a
    rotated token needs no restart.

    Attributes:
        path: mounted secret, or None.
        value: token given in the environment, for a person's own run; never shown.
    """

    path: Path | None = None
    value: str | None = field(default=None, repr=False)

    def read(self) -> str:
        """Return the token as it is now; from here on the log does not show it.

        Raises:
            SettingsError: no token, an unreadable or empty file, or text that is no token.
        """
        if self.path is not None:
            source = f"X_BEARER_TOKEN_FILE ({self.path})"
            try:
                token = self.path.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(
                    f"{source} cannot be read: {error}. Mount the secret there, "
                    "or set X_BEARER_TOKEN."
                ) from None
        else:
            source = "X_BEARER_TOKEN"
            token = (self.value or "").strip()
        if not token:
            raise SettingsError(
                f"{source} is empty: the stream needs the bearer token of an X app. Copy it from "
                "the X developer console (Keys and tokens) and set X_BEARER_TOKEN or "
                "X_BEARER_TOKEN_FILE."
            )
        if not _TOKEN.fullmatch(token):
            # Not shown: it may be a token with a slip of the clipboard in it.
            raise SettingsError(
                f"{source} holds more than a bearer token, or another thing: white space, quotes, "
                "'Bearer' or 'BEARER_TOKEN=' before it. Copy the token again, alone on one line."
            )
        hide(token)
        return token


@dataclass(frozen=True)
class Settings:
    """Everything the producer needs to know. Durations are seconds unless the name says more.

    Attributes:
        topic: full name of the topic for posts and events; None prints only.
        dead_letter_topic: full name; None has what cannot be used in its event.
        rules: the stream's rules; None leaves X's as they are.
        post_budget: posts a month; 0 means no guard.
        fields: what X is asked for beyond our columns (fields.asked).
    """

    token: XToken
    topic: str | None = None
    dead_letter_topic: str | None = None
    api_base_url: str = "https://api.x.com"
    rules: tuple[Rule, ...] | None = None
    rules_file: Path | None = None
    post_budget: int = 0
    backfill_minutes: int = 0
    fields: str = FURTHER
    state_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    instance: str = "producer"
    print_posts: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str], arguments: argparse.Namespace) -> Settings:
        """Read every setting.

        Args:
            environ: the process environment.
            arguments: `print` (bool) and `rule` (list of rule values) from the command line.

        Raises:
            SettingsError: the first setting that cannot work.
        """
        rules_file = Path(environ["RULES_FILE"]) if environ.get("RULES_FILE") else None
        try:
            if arguments.rule:
                rules: tuple[Rule, ...] | None = tuple(Rule.checked(v) for v in arguments.rule)
                rules_file = None
            else:
                rules = read_rules(rules_file) if rules_file else None
        except RulesError as error:
            raise SettingsError(str(error)) from None
        topic = _topic(environ, "TOPIC")
        if topic is None and not arguments.print:
            raise SettingsError(
                "TOPIC is not set: there is nowhere to publish. Set it to projects/PROJECT/topics/"
                "TOPIC, or run with --print to see the posts only."
            )
        if rules is None and not arguments.print:
            raise SettingsError(
                "RULES_FILE is not set: the stream needs rules. Set it to a JSON file such as "
                '[{"value": "bigquery lang:en", "tag": "bigquery"}].'
            )
        token = XToken(
            path=Path(environ["X_BEARER_TOKEN_FILE"])
            if environ.get("X_BEARER_TOKEN_FILE")
            else None,
            value=environ.get("X_BEARER_TOKEN"),
        )
        token.read()
        state_dir = None
        if topic is not None:
            state_dir = Path(environ.get("STATE_DIR") or _default_state_dir(environ))
        return cls(
            token=token,
            topic=topic,
            dead_letter_topic=_topic(environ, "DEAD_LETTER_TOPIC"),
            api_base_url=base_url(environ),
            rules=rules,
            rules_file=rules_file,
            post_budget=_integer(environ, "POST_BUDGET", 0, 0, 10**12),
            backfill_minutes=_integer(environ, "BACKFILL_MINUTES", 0, 0, 5),
            fields=_fields(environ),
            state_dir=state_dir,
            host=environ.get("HOST") or "127.0.0.1",
            port=_integer(environ, "PORT", 0, 0, 65535) if environ.get("PORT") else None,
            instance=_instance(environ),
            print_posts=bool(arguments.print),
        )


def log_level(environ: Mapping[str, str]) -> str:
    """Return LOG_LEVEL, checked.

    Raises:
        SettingsError: not one of logging's five levels.
    """
    level = (environ.get("LOG_LEVEL") or "INFO").upper()
    if level not in _LEVELS:
        raise SettingsError(
            f"LOG_LEVEL is {environ['LOG_LEVEL']!r}: must be one of {', '.join(_LEVELS)}."
        )
    return level


def _default_state_dir(environ: Mapping[str, str]) -> Path:
    # A person's own run; the container always sets STATE_DIR.
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "tweets-producer"


def _instance(environ: Mapping[str, str]) -> str:
    name = environ.get("INSTANCE") or socket.gethostname()
    if not name.isprintable():
        # Bytes that are no UTF-8 too: no event could hold it.
        raise SettingsError(f"INSTANCE is {name!r}: must be printable text, such as a host's name.")
    return name


def _topic(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name)
    if not value:
        return None
    if not _TOPIC.fullmatch(value):
        raise SettingsError(
            f"{name} is {value!r}: must be a full topic name. Write it as "
            "projects/PROJECT/topics/TOPIC."
        )
    return value


def base_url(environ: Mapping[str, str]) -> str:
    """Return X_API_BASE_URL, checked: the bearer token goes there.

    Raises:
        SettingsError: no address, one with a password in it, or one without TLS beyond loopback.
    """
    value = environ.get("X_API_BASE_URL", "").strip() or "https://api.x.com"
    unset = "Leave it unset for https://api.x.com."
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if "@" in value:
        # Not shown: what stands before the @ is a password.
        raise SettingsError(
            "X_API_BASE_URL holds a user name or password: must be scheme, host and port only. "
            + unset
        )
    if not usable or parts.query or parts.fragment:
        raise SettingsError(f"X_API_BASE_URL is {value!r}: must be an http(s) address. {unset}")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise SettingsError(
            f"X_API_BASE_URL is {value!r}: without TLS anybody on the way can read the bearer "
            f"token, so http:// is for this machine alone. Write https://. {unset}"
        )
    base = value.rstrip("/")
    if re.search(r"/(2|1\.1)$", base):
        raise SettingsError(
            f"X_API_BASE_URL is {value!r}: must end before the version, which each call adds, or X "
            f"answers 404 for ever. Set it to {base.rpartition('/')[0]}, or leave it unset."
        )
    return base


def _fields(environ: Mapping[str, str]) -> str:
    further = environ.get("X_FIELDS", FURTHER).strip()
    try:
        asked(further)
    except FieldsError as error:
        raise SettingsError(f"X_FIELDS: {error}") from None
    return further


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _integer(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name)
    if not text:
        return default
    rule = f"{name} is {text!r}: must be a whole number from {low} to {high}."
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{rule} Unset it for {default}.") from None
    if not low <= value <= high:
        raise SettingsError(f"{rule} Unset it for {default}.")
    return value
