"""The pure parts: intervals, help texts, and the log that must not show the token."""

import itertools
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.__main__ import main
from operations.errors import UnavailableError
from operations.gaps import Span, joined, remaining
from operations.letter import DeadLetter
from operations.text import harmless, table
from producer.fields import asked

ROOT = Path(__file__).resolve().parents[2]
ZERO = datetime(2026, 11, 22, tzinfo=UTC)
COMMANDS = (
    ("redrive", "list"),
    ("redrive", "show"),
    ("redrive", "send"),
    ("backfill",),
    ("compliance", "run"),
    ("doctor",),
)


def span(start: int, end: int) -> Span:
    """A span of seconds from a fixed moment."""
    return Span(ZERO + timedelta(seconds=start), ZERO + timedelta(seconds=end))


def seconds(spans: list[Span]) -> set[int]:
    """The whole seconds in spans."""
    return {
        int((item.start - ZERO).total_seconds()) + offset
        for item in spans
        for offset in range(int(item.length.total_seconds()))
    }


spans = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda p: span(p[0], p[0] + p[1]))


@given(spans, st.lists(spans, max_size=6))
def test_remaining_is_the_difference(whole: Span, covered: list[Span]) -> None:
    """What remains of a gap is exactly its seconds that no backfill covers, in separate spans."""
    left = remaining(whole, covered)
    assert seconds(left) == seconds([whole]) - seconds(covered)
    assert all(one.end < other.start for one, other in itertools.pairwise(left))


@given(spans, st.lists(spans, max_size=6))
def test_joined_covers_only_what_is_covered(done: Span, covered: list[Span]) -> None:
    """A joined span claims nothing that no backfill has covered."""
    assert seconds([joined(done, covered)]) <= seconds([done, *covered])


def test_joined_spans_close_a_gap_filled_in_parts() -> None:
    """Parts that touch become one span over the whole gap."""
    assert joined(span(0, 10), [span(20, 30), span(10, 20)]) == span(0, 30)
    assert joined(span(0, 10), [span(11, 20)]) == span(0, 10)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """--help of each command ends with 0 and shows an example."""
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"], {})
    assert ended.value.code == 0
    assert re.search(r"Example: tweets " + " ".join(command), capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments", [[], ["redrive"], ["nonsense"], ["redrive", "list", "--wait", "long"]]
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong command line is exit code 2 and one line that names --help."""
    assert main(arguments, {}) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "--help" in printed.err


@pytest.mark.parametrize("name", ["POST_BUDGET", "X_API_BASE_URL"])
def test_a_wrong_environment_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that cannot work is told with its name and value."""
    assert main(["redrive", "list"], {name: "ten thousand"}) == 2
    printed = capsys.readouterr().err
    assert name in printed
    assert "'ten thousand'" in printed
    assert printed.count("\n") == 1


def test_the_module_runs_as_in_the_image() -> None:
    """`python -m operations` is the same command line."""
    done = subprocess.run(
        [sys.executable, "-m", "operations", "redrive", "list"],
        cwd=ROOT / "services" / "producer",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("tweets: DEAD_LETTER_SUBSCRIPTION is not set")


def test_harmless_keeps_languages_and_emoji() -> None:
    """Korean and emoji stay; escapes, bells and bidirectional controls become text."""
    assert harmless("고양이 🐱\n") == "고양이 🐱\n"
    assert harmless("a\x1b[2Jb\u202e") == "a\\x1b[2Jb\\u202e"


def test_a_table_s_cells_steer_no_terminal() -> None:
    """What strangers wrote into a cell makes no second row, and its width is of what is shown."""
    assert table(("A", "B"), [("\x1b[2J", "x\nfaked"), ("고양이", "\u202ey")]).splitlines() == [
        "A        B",
        "\\x1b[2J  x\\nfaked",
        "고양이      \\u202ey",
    ]


def test_an_error_s_words_steer_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """X's, Google's or a file's words in an error are shown without their control characters."""

    def failing(*_: object) -> None:
        raise UnavailableError("HTTP 200 with \x1b]0;owned\x07 \u202egnp\nand more")

    monkeypatch.setattr("operations.__main__.Settings.from_env", failing)
    assert main(["redrive", "list"], {}) == 1
    printed = capsys.readouterr().err
    assert printed == "tweets: HTTP 200 with \\x1b]0;owned\\x07 \\u202egnp and more\n"


def test_a_gap_is_asked_for_in_whole_seconds() -> None:
    """X reads whole seconds, so a gap of 20 ms is asked for, and quoted, as the seconds around."""
    short = Span(ZERO + timedelta(seconds=4.99), ZERO + timedelta(seconds=5.01))
    assert short.whole_seconds == span(4, 6)


def test_a_page_s_users_are_all_that_a_post_of_a_search_needs() -> None:
    """Search asks for no other expansion; with a second one, search.py has to hand on what it
    brings.
    """
    assert asked("")["expansions"] == "author_id"


def test_a_redriven_letter_s_moment_has_a_zone() -> None:
    """A letter's own moments are compared with ours, so one without a zone is taken for UTC."""
    marks = {"redriven_at": "2026-11-22T10:00:00", "dead_letter_at": "2026-11-22T09:00:00"}
    letter = DeadLetter("1", b"", marks, ZERO)
    assert letter.redriven == ZERO + timedelta(hours=10)
    assert letter.at == ZERO + timedelta(hours=9)
