"""The demo's flags: each checked when it is read, and refused in one line."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from local.machine.launcher import PORTS
from local.standin import OneLineParser

RULES = '[{"value": "cats lang:en", "tag": "cats"}]'
EASY = 25.0
"""Posts a second without --count: enough to see it move, and easy on a laptop's fan."""


def arguments(argv: list[str] | None, description: str | None) -> argparse.Namespace:
    """Read the command line; argparse ends with one line and exit code 2 at what it can't read."""
    parser = OneLineParser(prog="python -m local.demo", description=description)
    parser.add_argument(
        "--rate",
        type=number(0),
        help=f"posts a second; 0 as fast as they are read (default {EASY:g}, with --count 0)",
    )
    parser.add_argument("--count", type=whole(1), help="end after so many posts, with a verdict")
    parser.add_argument("--duration", type=number(0), help="end so many seconds after it is up")
    parser.add_argument("--seed", type=int, help="same seed and rules, same posts")
    parser.add_argument("--stack", default="dev", help="which Pulumi.<stack>.yaml (%(default)s)")
    parser.add_argument(
        "--config",
        action="append",
        type=_setting,
        default=[],
        metavar="KEY=VALUE",
        help="configuration over that file's, such as tweets:postBudget=500; may be repeated",
    )
    parser.add_argument(
        "--rules",
        type=_rules,
        help=f"rules of the stream, JSON or a file of it: {RULES}",
    )
    parser.add_argument("--data-dir", type=Path, help="keep the data here over restarts")
    parser.add_argument(
        "--port",
        action="append",
        type=_port,
        default=[],
        metavar="NAME=NUMBER",
        help=f"a fixed port for one of {', '.join(PORTS)}; may be repeated",
    )
    parser.add_argument("--no-dashboard", action="store_true", help="without the page of charts")
    parser.add_argument("--list", action="store_true", help="list each resource, then go on")
    return parser.parse_args(argv)


def number(least: float, most: float = math.inf) -> Callable[[str], float]:
    """Reads a number of a command line, from `least` to `most`; never infinite."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or value == math.inf:
            reach = "up" if most == math.inf else f"to {most:g}"
            raise argparse.ArgumentTypeError(f"{text!r} must be a number from {least:g} {reach}")
        return value

    return read


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number of a command line, from `least` up."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {least} up")
        return int(text)

    return read


def _setting(text: str) -> tuple[str, object]:
    key, found, value = text.partition("=")
    if not found or ":" not in key:
        raise argparse.ArgumentTypeError(f"{text!r} must be KEY=VALUE, KEY such as tweets:dataset")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the value is not YAML") from error
    return key, "" if read is None else read


def _rules(text: str) -> object:
    inline = text.lstrip().startswith(("[", "{"))
    try:
        rules = json.loads(text if inline else Path(text).read_text())
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.strerror}") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from error
    if not isinstance(rules, list) or not rules:
        raise argparse.ArgumentTypeError(f"{text!r} must be a JSON list such as {RULES}")
    return rules


def refusal(line: str, options: argparse.Namespace) -> str:
    """A line about a setting, with the flag that gave it where the line names Pulumi's command."""
    key = re.match(r"[\w-]+:\w+", line)
    said, found, _ = line.partition("; set it: pulumi config ")
    if not key or not found:
        return line
    if key[0] == "tweets:rules" and options.rules is not None:
        return f"{said}; give --rules a JSON list such as {RULES}"
    return f"{said}; set it: --config {key[0]}=VALUE" if key[0] in dict(options.config) else line


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in PORTS or not number.isdecimal() or not 1 <= int(number) <= 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be NAME=NUMBER, NAME one of {', '.join(PORTS)}, NUMBER 1 to 65535"
        )
    return name, int(number)
