"""Where a gap begins: what a killed producer had not read must lie in it."""

from pathlib import Path

from local.x.snowflake import first_at
from producer.gap import Coverage
from producer.record import timestamp
from producer.store import Store

NOON = 1_795_348_800_000_000  # microseconds since 1970


def post(at: int) -> int:
    """Id of a post made at that moment."""
    return first_at(at / 1000)


def test_a_gap_begins_when_the_last_post_was_made_not_when_it_was_read(tmp_path: Path) -> None:
    """With two seconds of posts unread in the socket, a kill loses none outside the gap."""
    store = Store(tmp_path)
    before = Coverage(store, "pod")
    before.covered(NOON, post(NOON - 2_000_000))
    before.save()
    gap = Coverage(store, "pod").gap
    store.close()
    assert gap is not None
    assert gap["reason"] == "killed"
    assert gap["from"] == NOON - 2_000_000


def test_an_id_of_long_ago_makes_no_gap_of_years(tmp_path: Path) -> None:
    """The stream has no posts older than five minutes, and each minute of a gap costs money."""
    store = Store(tmp_path)
    coverage = Coverage(store, "pod")
    coverage.covered(NOON, 5)
    assert coverage.until == NOON - 300_000_000
    store.close()


def test_a_clock_that_is_ahead_hides_no_gap(tmp_path: Path) -> None:
    """The gap begins and ends by X's time, though our clock says two hours more."""
    ahead = 7_200_000_000
    store = Store(tmp_path)
    before = Coverage(store, "pod")
    before.covered(NOON, post(NOON - 1_000_000))
    before.covered(NOON + ahead, post(NOON + 1_000_000))
    before.save()
    after = Coverage(store, "pod")
    assert after.gap is not None
    assert after.gap["from"] == NOON + 1_000_000
    gap = after.resumed(NOON + ahead + 5_000_000, post(NOON + 4_000_000), 0)
    store.close()
    assert gap is not None
    assert gap["gap_to"] == timestamp(NOON + 4_000_000)
