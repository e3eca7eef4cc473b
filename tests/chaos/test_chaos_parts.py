"""The chaos run's own judgement: it must see what is wrong, and follow X's rules."""

import itertools
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from local.chaos import __main__ as chaos
from local.chaos.gaps import Missing, RecordedGap
from local.chaos.letters import Letters
from local.chaos.outcome import Outcome, worst_window
from local.chaos.schedule import FIRST, LAST, Fault, full_plan
from local.chaos.spend import Spending
from local.x.snowflake import first_at
from operations.letter import DeadLetter
from tests.chaos.plan import quick_plan

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(seconds: float) -> int:
    """Id of a post made so many seconds after NOON."""
    return first_at((NOON + timedelta(seconds=seconds)).timestamp() * 1000)


def gap(start: float, end: float) -> RecordedGap:
    """A gap in seconds after NOON."""
    return RecordedGap(
        NOON + timedelta(seconds=start), NOON + timedelta(seconds=end), "disconnected"
    )


def letter(data: bytes, **attributes: str) -> DeadLetter:
    """A dead letter with these attributes."""
    return DeadLetter("1", data, {"kind": "line", "id": "x", **attributes}, NOON)


def connects(plan: list[Fault]) -> int:
    """Connects that a plan makes: each end of a connection, each refusal, and the first."""
    ends = {"close", "reset", "cut", "disconnect", "stall"}
    refusals = sum(each.times + 1 for each in plan if each.act == "http")
    return 1 + refusals + sum(each.act in ends or each.target == "producer" for each in plan)


def test_a_seed_makes_the_same_plan_again() -> None:
    """Same seed, same faults at the same posts; another seed, others."""
    assert full_plan(7, 100_000) == full_plan(7, 100_000)
    assert full_plan(7, 100_000) != full_plan(8, 100_000)
    assert quick_plan(7, 5_000) == quick_plan(7, 5_000)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_has_every_fault_several_times_and_keeps_them_apart(seed: int) -> None:
    """Each kind comes twice or more but for the two forms of 429, in order, within its bounds."""
    plan = full_plan(seed, 100_000)
    kinds = Counter(each.name for each in plan if not each.name.startswith("429"))
    assert min(kinds.values()) >= 2
    assert sum(each.name.startswith("429") for each in plan) == 2
    places = [each.at for each in plan]
    assert places == sorted(places)
    assert min(later - before for before, later in itertools.pairwise(places)) > 300
    assert places[0] >= 100_000 * FIRST
    assert places[-1] <= 100_000 * LAST


def test_a_full_plan_stays_below_the_connects_that_the_producer_spreads() -> None:
    """Above 40 in 15 minutes the producer would wait, and a run take longer than its faults."""
    assert connects(full_plan(1, 100_000)) < 40


def test_a_full_plan_kills_the_reader_more_than_20_times() -> None:
    """By itself, where its volume is damaged, and where its clock jumps."""
    plan = [each for each in full_plan(1, 100_000) if each.target == "producer"]
    kills = sum(each.times for each in plan if each.act in ("kill", "kill_holding", "clock"))
    assert kills >= 25
    assert sum(each.times for each in plan if each.act == "kill") >= 20


def test_connects_are_counted_in_the_worst_15_minutes() -> None:
    """The window slides: it begins at any connect, not at the first."""
    assert worst_window([]) == 0
    assert worst_window([0, 1000, 1100, 1200, 1899, 1901]) == 4


def test_a_missing_post_outside_any_gap_is_lost() -> None:
    """A post belongs to a gap by the time it was made, from its start and before its end."""
    missing = Missing.of({at(1), at(2), at(3), at(4)}, {at(3)}, [gap(2, 4)])
    assert missing == Missing(in_gaps=(at(2),), lost=(at(1), at(4)))


def test_a_poison_line_without_dead_letter_and_a_dead_letter_without_poison_are_seen() -> None:
    """Both directions of `exactly the poison ones`, and the start of a huge line counts as it."""
    huge = b"{" + b"x" * 3_000_000
    poison = [b"<html>", huge, b'{"broken']
    letters = [letter(b"<html>"), letter(huge[:2_000_000]), letter(b"a good line")]
    rejected = letter(b"{}", kind="post", id=str(at(1)), dead_letter_reason="row_rejected")
    found = Letters.of([*letters, rejected], poison, {at(1), at(2)}, [], [])
    assert found.lines == 2
    assert found.rows == 1
    assert found.missing == (f"post {at(2)}", f"line {poison[2]!r}")
    assert found.strange == ("unknown line x",)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"at_end": Missing((), (5,))}, "1 posts lost: 5"),
        ({"doubled": (5,)}, "1 posts doubled in the view: 5"),
        ({"cut": (5,)}, "1 reposts cut though X gave them whole: 5"),
        ({"still": (5,)}, "1 posts missing after backfill and redrive: 5"),
        ({"x_lost": Missing((), (5,))}, "posts that X did not deliver are in no recorded gap: 5"),
        ({"letters": Letters(missing=("line x",))}, "poison that is no dead letter"),
        ({"letters_left": Letters(strange=("a",))}, "dead letter that is no poison: a"),
        ({"redriven": 2, "redriven_rows": 3}, "2 posts redriven, 3 rows of them"),
        ({"worst_window": 51}, "51 connects in 15 minutes, X allows 50"),
        ({"stuck": "nothing new for 150 s"}, "nothing new for 150 s"),
        ({"budget": Spending(1049, 0, 14, Missing(), ())}, "1049 posts bought"),
        ({"delivered": 9}, "X has delivered 9 of 10 posts"),
        ({"planned": {"reset": 2}, "injected": {"reset": 1}}, "reset: injected 1 of 2 times"),
    ],
)
def test_each_figure_that_is_wrong_fails_the_run(wrong: dict[str, object], words: str) -> None:
    """A run with one wrong figure has exactly that failure, in words."""
    right = Outcome(seed=1, posts=10, rate=1.0, delivered=10)
    assert right.failures() == []
    failures = replace(right, **wrong).failures()  # type: ignore[arg-type]
    assert len(failures) == 1
    assert words in failures[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--posts", "5"], "'5' must be a whole number from 20000 up"),
        (["--rate", "fast"], "'fast' must be a number from 1 to 100000"),
        (["--speed", "1"], "unrecognized arguments: --speed 1"),
    ],
)
def test_a_wrong_command_line_gets_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names what was wrong, and the exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        chaos.main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_report_that_cannot_be_written_is_told_before_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Minutes of faults must not end without the file that was asked for."""
    assert chaos.main(["--json", "/no/such/place/out.json"]) == 2
    assert capsys.readouterr().err == "chaos: --json /no/such/place/out.json: no such directory\n"
