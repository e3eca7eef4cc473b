"""The whole pipeline under faults that need no long back-off: what became of each post."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.chaos.outcome import Outcome, content, lines, verdict
from local.chaos.run import RULES, ChaosRun
from local.demo.stack import LocalStack
from tests.chaos.plan import quick_plan

POSTS, RATE, SEED = 5_000, 350.0, 4

# One run is what all tests here look at; it takes about 50 s.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """The figures of one run."""
    data: Path = tmp_path_factory.mktemp("chaos")
    config = {"tweets:rules": RULES}
    with LocalStack(rate=RATE, count=POSTS, seed=SEED, data_dir=data, config=config) as stack:
        judged = ChaosRun(stack, quick_plan(SEED, POSTS), SEED).run()
        long = "STARTS_WITH(text, 'RT @') AND LENGTH(text) > 140"
        sql = f"SELECT COUNT(*) AS n FROM `{stack.tweets_latest}` WHERE {long}"
        found = next(iter(stack.bigquery.query(sql).result()))["n"]
        yield replace(judged, events=judged.events | {"reposts longer than X's cut": found})


def test_no_post_is_lost_and_none_is_doubled(outcome: Outcome) -> None:
    """Each post that X delivered is in the view once, or in a gap that is recorded."""
    assert outcome.delivered >= POSTS
    assert outcome.at_end.lost == ()
    assert outcome.doubled == ()
    # The doubles of redelivery, kills and repeated answers are in the append table.
    assert outcome.table_rows > outcome.rows


def test_reposts_are_in_play_and_whole(outcome: Outcome) -> None:
    """X cuts them at 140 characters and gives the originals; the rows have those."""
    assert outcome.events["reposts longer than X's cut"] > 20
    assert outcome.cut == ()


def test_what_x_cut_off_is_in_a_gap_that_backfill_fills(outcome: Outcome) -> None:
    """Posts that never arrived whole are in recorded gaps, and in the view after the backfill."""
    assert outcome.x_lost.in_gaps
    assert outcome.x_lost.lost == ()
    assert outcome.still == ()
    # One that is killed while it waits to connect goes on with the gap that is open.
    assert outcome.events["started"] == 2


def test_dead_letters_are_exactly_the_poison(outcome: Outcome) -> None:
    """Each poison line and each rejected row is a dead letter, and nothing else is."""
    assert outcome.letters.missing == ()
    assert outcome.letters.strange == ()
    assert outcome.letters.lines + outcome.letters.in_gaps == 7
    assert outcome.letters.rows == 5


def test_rejected_rows_arrive_once_after_redrive(outcome: Outcome) -> None:
    """Rows that BigQuery rejected come into the view once, and leave the dead letters."""
    assert outcome.redriven == 5
    assert outcome.redriven_rows == 5
    assert outcome.letters_left.strange == ()


def test_every_fault_was_injected_and_hit_something(outcome: Outcome) -> None:
    """A fault that did nothing would prove nothing."""
    assert outcome.injected == outcome.planned
    hit = ("redelivered", "refused publishes", "insert status 503")
    assert all(outcome.hit.get(name) for name in hit), outcome.hit


def test_the_run_passes_and_its_report_says_so(outcome: Outcome) -> None:
    """Without a failure the verdict is `passed`, and the figures stand in lines and JSON."""
    assert verdict(outcome) == [
        f"passed: {outcome.delivered:,} posts, {outcome.rows:,} rows, 0 lost, 0 doubled"
    ]
    assert content(outcome)["passed"] is True
    assert "lost: 0" in lines(outcome)
