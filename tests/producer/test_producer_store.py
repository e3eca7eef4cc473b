"""The store: what is kept over kills, damage and a disk that takes nothing."""

from __future__ import annotations

import contextlib
import gc
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from producer import database, recovery
from producer import store as module
from producer.gap import Coverage
from producer.messages import LETTERS, POSTS, Entry, Message
from producer.record import timestamp
from producer.recovery import StateError
from producer.store import FILE, Store

BIG = 10**9


def entry(number: int, topic: int = POSTS, size: int = 600) -> Entry:
    """A message that covers the moment `number`."""
    data = f"{number} ".encode() + random.Random(number).randbytes(size)
    return Entry(topic, Message(data, {"kind": "post", "id": str(number)}), number)


def fill(directory: Path, chunks: int, each: int = 3) -> None:
    """Keep chunks of posts, each with the coverage that it proves, and publish some."""
    store = Store(directory)
    for chunk in range(chunks):
        entries = [entry(chunk * each + post + 1) for post in range(each)]
        until = entries[-1].made_at
        store.append(entries, {"coverage": {"until": until, "last_id": until, "gap": None}})
        if chunk == chunks // 2:
            store.published(store.oldest(POSTS, 0, each * chunks // 4, BIG))
    store.close()


def held(store: Store, topic: int = POSTS) -> list[Message]:
    """All messages of a topic."""
    return [each.message for each in store.oldest(topic, 0, 10**6, BIG)]


def until(store: Store) -> int | None:
    """The coverage that is kept."""
    return store.read("coverage", lambda kept: int(kept["until"]))


def killed_after(directory: Path, code: str) -> None:
    """Run code with a Store as `store` in another process, which is killed then."""
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from producer.messages import *\nfrom producer.store import Store\n"
        "from tests.producer.test_producer_store import entry\n"
        f"store = Store(Path({str(directory)!r}))\n{code}\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9


def test_all_that_was_kept_is_there_after_a_kill(tmp_path: Path) -> None:
    """After kill -9 the next process finds each message in order, and not what was published."""
    killed_after(
        tmp_path,
        "for n in range(1, 300): store.append([entry(n)], {'coverage': {'until': n}})\n"
        "store.append([entry(1000, LETTERS)])\n"
        "store.published(store.oldest(POSTS, 0, 100, 10**9))",
    )
    store = Store(tmp_path)
    assert held(store) == [entry(n).message for n in range(101, 300)]
    assert held(store, LETTERS) == [entry(1000, LETTERS).message]
    assert store.held == [199, 1]
    assert until(store) == 299
    assert store.take_damage() is None
    assert not store.fresh
    store.append([entry(300)])
    assert held(store)[-1] == entry(300).message
    store.close()


def test_kills_at_any_moment(tmp_path: Path) -> None:
    """Killed five times while it writes and deletes: each message that append() returned for is
    there or was published, each published one is gone, but for the one of the moment of the kill.
    """
    program = (
        "import sys\nfrom pathlib import Path\nfrom producer.store import Store\n"
        "from tests.producer.test_producer_store import entry\n"
        "store, n = Store(Path(sys.argv[1])), int(sys.argv[2])\n"
        "while True:\n"
        "    n += 1\n"
        "    store.append([entry(n)], {'coverage': {'until': n}})\n"
        "    print('kept', n, flush=True)\n"
        "    if n % 3 == 0:\n"
        "        oldest = store.oldest(0, 0, 2, 10**9)\n"
        "        store.published(oldest)\n"
        "        print('sent', *(each.made_at for each in oldest), flush=True)\n"
    )
    chance, kept, sent = random.Random(5), set[int](), set[int]()
    for _ in range(5):
        start = max(kept, default=0) + 1000
        command = [sys.executable, "-c", program, str(tmp_path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(chance.randint(5, 300)):
                word, *numbers = child.stdout.readline().split()
                (kept if word == "kept" else sent).update(map(int, numbers))
            child.kill()
            for line in child.stdout.read().splitlines():
                word, *numbers = line.split()
                (kept if word == "kept" else sent).update(map(int, numbers))
        store = Store(tmp_path)
        there = {each.made_at for each in store.oldest(POSTS, 0, 10**6, BIG)}
        covered = until(store)
        store.close()
        assert len(kept - sent - there) <= 2, "deleted, and killed before it could say so"
        assert not sent & there
        assert covered is not None
        assert covered >= max(kept)


def test_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest come first, bounded in number and bytes, but at least one; many waiting ones are
    packed on disk and come back as they were.
    """
    monkeypatch.setattr(module, "PACK_FROM", 5)
    entries = [Entry(POSTS, Message(b"x" * 10_000, {"id": str(n)}), n) for n in range(1, 20)]
    for each in entries:
        store.append([each])
    assert [each.made_at for each in store.oldest(POSTS, 0, 3, BIG)] == [1, 2, 3]
    assert [each.made_at for each in store.oldest(POSTS, 3, 100, 25_000)] == [4, 5]
    assert [each.made_at for each in store.oldest(POSTS, 5, 100, 1)] == [6]
    assert held(store) == [each.message for each in entries]
    sizes = sqlite3.connect(store.path).execute("SELECT length(data) FROM messages").fetchall()
    assert (sizes[0], sizes[-1] < (1000,)) == ((10_000,), True)


def test_one_process_at_a_time(store: Store) -> None:
    """A second one is told in one line."""
    with pytest.raises(StateError, match="in use by another producer"):
        Store(store.path.parent)


@pytest.mark.parametrize("wrong", ["a list", {"until": "yesterday"}, {"until": -5}, {}])
def test_a_value_that_cannot_be_right_is_unknown(
    store: Store, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, set aside, and neither zero nor a crash."""

    def check(kept: dict[str, Any]) -> int:
        if kept["until"] < 0:
            raise ValueError("below 0")
        return int(kept["until"])

    store.append(states={"coverage": wrong})
    assert store.read("coverage", check) is None
    assert "its coverage cannot be right" in caplog.text
    aside = sqlite3.connect(store.path).execute("SELECT what FROM set_aside").fetchall()
    assert aside == [("state coverage",)]


# What damage must never do: crash the start, change a message, or claim coverage that is not.


class Original(NamedTuple):
    """A sound store on disk, and what is in it."""

    path: Path
    messages: list[Message]
    covered: int

    @classmethod
    def of(cls, path: Path, scratch: Path) -> Original:
        """Look into a copy: to open it would change it."""
        shutil.copytree(path, scratch)
        store = Store(scratch)
        covered = until(store)
        assert covered is not None
        found = cls(path, held(store), covered)
        store.close()
        return found


def check_damaged(directory: Path, original: Original) -> Opened:
    """Open a damaged copy, twice."""
    _, messages, covered = original
    before, wal = (directory / FILE).read_bytes(), (directory / f"{FILE}-wal").exists()
    store = Store(directory)
    try:
        found = held(store)
        assert set(map(str, found)) <= set(map(str, messages)), "a changed message"
        assert found == [each for each in messages if each in found], "another order"
        kept = until(store)
        missing = [each for each in messages if each not in found]
        coverage = Coverage(store, "me")
        assert coverage.gap is not None
        begin = coverage.gap["from"]
        oldest = min((int(each.attributes["id"]) for each in missing), default=covered)
        assert begin is None or begin <= oldest, "a lost post outside the gap"
        assert kept is None or kept <= covered, "invented coverage"
        damaged = coverage.gap["reason"] == "state_damaged"
        aside = list(directory.glob(f"{FILE}.damaged-*Z"))
        assert bool(aside) == damaged or kept is None
        assert not (missing and not damaged and kept == covered), "a loss that nothing tells"
        if aside and not wal:  # SQLite itself moves a WAL into the file
            assert [each.read_bytes() for each in aside] == [before], "not kept as it was"
        store.close()
        # The next start finds a sound file, the same messages and the same gap, and tells it once.
        store = Store(directory)
        assert held(store) == found
        again = Coverage(store, "me")
        assert (again.gap or {}).get("from") == begin
        event = again.resumed(covered + 10, None, 0)
        assert event is not None
        assert event["gap_from"] == (None if begin is None else timestamp(begin))
        assert again.resumed(covered + 11, None, 0) is None
        return Opened(len(found), damaged, known=begin is not None)
    finally:
        store.close()


class Opened(NamedTuple):
    """Of a damaged store: messages that it gave, whether damage was found, whether the gap has a
    begin.
    """

    messages: int
    damaged: bool
    known: bool


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Original, Original]:
    """A store that was closed, and one with most of it in the WAL, as a kill leaves it."""
    closed, killed = tmp_path_factory.mktemp("closed"), tmp_path_factory.mktemp("killed")
    fill(closed, 60)
    fill(killed, 20)
    killed_after(
        killed,
        "for n in range(61, 200): store.append([entry(n)], "
        "{'coverage': {'until': n, 'last_id': n, 'gap': None}})",
    )
    scratch = tmp_path_factory.mktemp("scratch")
    return Original.of(closed, scratch / "closed"), Original.of(killed, scratch / "killed")


def test_wal_cut_at_any_place(originals: tuple[Original, Original], tmp_path: Path) -> None:
    """A WAL that lost its end, as after a crash of the node, gives an older state as a whole: the
    messages up to a moment and the coverage of that moment.
    """
    wal = (originals[1].path / f"{FILE}-wal").read_bytes()
    chance = random.Random(11)
    shorter = 0
    for number in range(50):
        copy = tmp_path / str(number)
        shutil.copytree(originals[1].path, copy)
        cut = chance.randrange(len(wal))
        (copy / f"{FILE}-wal").write_bytes(wal[:cut])
        store = Store(copy)
        last, covered = held(store)[-1], until(store)
        assert store.take_damage() is None
        assert int(last.attributes["id"]) == covered
        gap = Coverage(store, "me").gap
        assert gap is not None
        assert (gap["from"], gap["reason"]) == (covered, "killed"), "the gap says so"
        shorter += covered < 199
        store.close()
    assert shorter > 40


def _damage(original: Path, copy: Path, change: Callable[[bytearray], None], file: str) -> None:
    shutil.copytree(original, copy)
    content = bytearray((copy / file).read_bytes())
    change(content)
    (copy / file).write_bytes(content)


def test_zeroed_pages(originals: tuple[Original, Original], tmp_path: Path) -> None:
    """Each page of the file in turn is zeros: the start goes on, intact rows are published, and the
    gap covers the rest.
    """
    pages = (originals[0].path / FILE).stat().st_size // 4096
    damages = most = known = 0
    for page in range(pages):

        def zero(content: bytearray, page: int = page) -> None:
            content[page * 4096 : (page + 1) * 4096] = bytes(4096)

        _damage(originals[0].path, tmp_path / str(page), zero, FILE)
        opened = check_damaged(tmp_path / str(page), originals[0])
        damages += opened.damaged
        known += opened.damaged and opened.known
        most += opened.damaged and opened.messages > 120
    assert damages > pages * 0.7
    assert most > pages * 0.5, "one damaged page must not cost the others"
    assert known > pages * 0.5, "a gap without a begin where the state can be read"


@pytest.mark.parametrize("part", range(5))
def test_flipped_bits(originals: tuple[Original, Original], tmp_path: Path, part: int) -> None:
    """500 files with one to three flipped bits, in the file or its WAL: most rows are intact."""
    results = []
    for seed in range(part * 100, part * 100 + 100):
        chance = random.Random(seed)
        original = originals[seed % 2]
        file = chance.choice([FILE, f"{FILE}-wal"]) if seed % 2 else FILE

        def flip(content: bytearray, chance: random.Random = chance) -> None:
            # Half of them where SQLite keeps its structure: the first bytes of a page.
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(content))
                if chance.random() < 0.5:
                    at = at // 4096 * 4096 + chance.randrange(120)
                content[at % len(content)] ^= 1 << chance.randrange(8)

        _damage(original.path, tmp_path / str(seed), flip, file)
        results.append((check_damaged(tmp_path / str(seed), original), len(original.messages)))
    damaged = [(opened, count) for opened, count in results if opened.damaged]
    assert len(damaged) > 40
    assert sum(opened.messages > 0.9 * count for opened, count in damaged) > 0.7 * len(damaged)
    assert sum(opened.known for opened, _ in damaged) > 0.7 * len(damaged)


@pytest.mark.parametrize("content", [b"", b"{}", b"SQLite format 3\0" + bytes(5000), bytes(8192)])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    """It is kept aside, and all is unknown, not zero: a gap without a begin."""
    fill(tmp_path, 2)
    (tmp_path / FILE).write_bytes(content)
    store = Store(tmp_path)
    gap = Coverage(store, "me").gap
    assert gap is not None
    assert (gap["from"], gap["reason"]) == (None, "state_damaged")
    assert [each.read_bytes() for each in tmp_path.glob(f"{FILE}.damaged-*Z")] == [content]
    store.append([entry(1)])
    store.close()
    again = Store(tmp_path)
    assert held(again) == [entry(1).message]
    again.close()


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """Where a reader was before and its file is not there, the gap has no begin; in a new
    directory nothing is missing.
    """
    first = Store(tmp_path / "new")
    assert Coverage(first, "me").gap is None
    first.close()
    (tmp_path / "new" / FILE).unlink()
    second = Store(tmp_path / "new")
    gap = Coverage(second, "me").gap
    second.close()
    assert gap is not None
    assert gap["from"] is None


def test_damage_while_running(tmp_path: Path) -> None:
    """A row that is damaged under a running process costs itself: the file is set aside, the others
    are published, what comes next is kept, and the damage is told once.
    """
    store = Store(tmp_path)
    for number in range(1, 50):
        store.append([entry(number)], {"coverage": {"until": number}})
    with sqlite3.connect(store.path) as other:
        other.execute("UPDATE messages SET data = x'00' WHERE seq = 20")
    other.close()
    found = held(store)
    assert found == [entry(number).message for number in range(1, 50) if number != 20]
    damage = store.take_damage()
    assert damage is not None
    assert damage.since == 1
    assert damage.detail["messages_recovered"] == 48
    assert store.take_damage() is None
    store.append([entry(50)])
    assert held(store)[-1] == entry(50).message
    assert store.held == [49, 0]
    store.close()


def break_row(store: Store, seq: int) -> None:
    """Damage one message behind the store's back."""
    with sqlite3.connect(store.path) as other:
        other.execute("UPDATE messages SET data = x'00' WHERE seq = ?", (seq,))
    other.close()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_damage_is_told_though_the_process_ends(tmp_path: Path, end: str) -> None:
    """A process that met damage and ended before it could tell leaves that to the next start; what
    was told is not told again.
    """
    killed_after(
        tmp_path,
        "from tests.producer.test_producer_store import break_row\n"
        "for n in range(1, 50): store.append([entry(n)],"
        " {'coverage': {'until': n, 'last_id': n, 'gap': None}})\n"
        "break_row(store, 20)\n"
        "assert len(store.oldest(0, 0, 100, 10**9)) == 48\n"
        + ("store.close()\n" if end == "stop" else ""),
    )
    for _ in range(2):
        store = Store(tmp_path)
        gap = Coverage(store, "me").gap
        assert gap is not None
        assert (gap["from"], gap["reason"]) == (1, "state_damaged")
        assert gap["detail"]["messages_recovered"] == 48
        assert store.take_damage() is None
        store.close()


def test_damage_upon_damage_begins_with_the_first(tmp_path: Path) -> None:
    """What is found damaged before the damage before it was told makes one gap from the earlier."""
    store = Store(tmp_path)
    for number in range(100, 120):
        store.append([entry(number)], {"coverage": {"until": number}})
    break_row(store, 5)
    store.published(store.oldest(POSTS, 0, 3, BIG))
    store.append([], {"coverage": {"until": 120}})
    assert len(held(store)) == 16
    break_row(store, 10)
    assert len(held(store)) == 15
    damage = store.take_damage()
    store.close()
    assert damage is not None
    assert damage.since == 103
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*Z"))) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_damage_among_posts_out_of_order(tmp_path: Path, restarted: bool) -> None:
    """X delivers late posts: a lost one may be older than the oldest that was kept first."""
    store = Store(tmp_path)
    for number in (1000, 940, 1001, 1002):
        store.append([entry(number)], {"coverage": {"until": number}})
    if restarted:
        store.close()
        store = Store(tmp_path)
        store.append([entry(1003)], {"coverage": {"until": 1003}})
    break_row(store, 2)
    held(store)
    damage = store.take_damage()
    assert damage is not None
    assert damage.since is not None
    assert damage.since <= 940
    store.published(store.oldest(POSTS, 0, 10, BIG))
    store.append([entry(2000)], {"coverage": {"until": 2000}})
    break_row(store, store.oldest(POSTS, 0, 10, BIG)[0].seq)
    held(store)
    later = store.take_damage()
    store.close()
    assert later is not None
    assert later.since == 2000, "what is published long ago makes no later gap longer"


def test_what_is_held_is_counted_after_damage(tmp_path: Path) -> None:
    """A message that was lost on its way is not counted off again when it has arrived."""
    store = Store(tmp_path)
    for number in range(1, 11):
        store.append([entry(number)])
    batch = store.oldest(POSTS, 0, 4, BIG)
    break_row(store, 2)
    store.oldest(POSTS, 0, 100, BIG)
    assert store.held == [9, 0]
    store.published(batch)
    assert store.held == [6, 0]
    break_row(store, 8)
    store._disk_failed(sqlite3.DatabaseError("database disk image is malformed"))
    store.published(store.oldest(POSTS, 0, 100, BIG))
    assert store.held == [0, 0]
    store.close()


@pytest.mark.parametrize("step", range(5))
def test_a_kill_while_a_damaged_file_is_replaced_loses_nothing(tmp_path: Path, step: int) -> None:
    """Killed after each step of it, the next start takes over all that is intact."""
    killed_after(
        tmp_path,
        "from tests.producer.test_producer_store import break_row\n"
        "for n in range(1, 1201): store.append([entry(n, size=50)],"
        " {'coverage': {'until': n, 'last_id': n, 'gap': None}})\n"
        "break_row(store, 700)",
    )
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from producer import recovery\nfrom producer.store import Store\n"
        "done = 0\n"
        "def counted(real):\n"
        "    def call(*args):\n"
        "        global done\n"
        "        found = real(*args)\n"
        "        if done == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "        done += 1\n"
        "        return found\n"
        "    return call\n"
        "Path.rename, recovery._commit = counted(Path.rename), counted(recovery._commit)\n"
        "Store(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(step)]
    assert subprocess.run(command, check=False).returncode == -9
    for _ in range(2):
        store = Store(tmp_path)
        assert store.held == [1199, 0]
        assert until(store) == 1200
        assert Coverage(store, "me").gap is not None
        store.close()


def test_a_sector_that_cannot_be_read_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that fails for good is damage in the end: what follows it is published."""
    store = Store(tmp_path)
    for number in range(1, 101):
        store.append([entry(number)], {"coverage": {"until": number}})
    rows, replaced = database.rows, list[int]()

    def broken(db: sqlite3.Connection, *rest: int) -> Iterator[Any]:
        for each in rows(db, *rest):
            if each.seq == 50 and not replaced:
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
                raise error
            yield each

    def replace(*args: Any) -> Any:
        replaced.append(1)
        return recovery.replace(*args)

    monkeypatch.setattr(database, "rows", broken)
    monkeypatch.setattr(module, "replace", replace)
    assert len(store.oldest(POSTS, 0, 1000, BIG)) == 49
    assert len(store.oldest(POSTS, 0, 1000, BIG)) == 49
    store._unread -= 2 * module.REPLACE_SECONDS
    assert len(store.oldest(POSTS, 0, 1000, BIG)) == 100
    assert store.take_damage() is not None
    store.close()


def test_a_file_that_may_not_be_opened_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told in a line and stays where it is."""
    fill(tmp_path, 2)
    before = (tmp_path / FILE).read_bytes()

    def refused(*_: Any, **__: Any) -> None:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "connect", refused)
        with pytest.raises(StateError, match="no damage: let this user read and write"):
            Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert not list(tmp_path.glob(f"{FILE}.damaged-*"))


def test_what_was_set_aside_outlives_damage(tmp_path: Path) -> None:
    """It goes along into the new file, which takes the damaged one's place for good."""
    store = Store(tmp_path)
    assert store.set_aside("an event", b"{}")
    store.append([entry(1)])
    break_row(store, 1)
    assert held(store) == []
    rows = sqlite3.connect(store.path).execute("SELECT what, data FROM set_aside").fetchall()
    assert rows == [("an event", b"{}")]
    store._db.execute("PRAGMA query_only = ON")
    assert not store.set_aside("another", b"{}")
    store.close()


def test_a_closed_store_takes_and_gives_nothing(tmp_path: Path) -> None:
    """What comes late at the end is neither an error nor half kept: the older coverage stands."""
    store = Store(tmp_path)
    store.append([entry(1)], {"coverage": {"until": 1}})
    (one,) = store.oldest(POSTS, 0, 10, BIG)
    store.close()
    store.append([entry(2)], {"coverage": {"until": 2}})
    store.published([one])
    assert store.oldest(POSTS, 0, 10, BIG) == []
    again = Store(tmp_path)
    assert (held(again), until(again)) == ([entry(1).message], 1)
    again.close()


def test_disk_that_takes_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What comes meanwhile waits in memory in order, can be published from there, and is written
    when the disk takes it; the log does not claim that it is kept.
    """
    store.append([entry(1)], {"coverage": {"until": 1}})
    limited = sqlite3.connect(store.path)
    pages = limited.execute("PRAGMA page_count").fetchone()[0]
    limited.close()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(2, 40):
        store.append([entry(number, size=3000)], {"coverage": {"until": number}})
    assert store.failing
    assert "STATE_DIR takes no more (database or disk is full)" in caplog.text
    assert "kept in" not in caplog.text
    assert store.in_memory > 50_000
    batch = store.oldest(POSTS, 0, 100, BIG)
    assert [each.made_at for each in batch] == list(range(1, 40))
    store.published(batch[:30])
    assert [each.made_at for each in store.oldest(POSTS, 30, 100, BIG)] == list(range(31, 40))
    covered = sqlite3.connect(store.path).execute("SELECT value FROM state").fetchall()
    assert b'"until":39' not in b"".join(row[0] for row in covered), "coverage before its posts"
    store._db.execute("PRAGMA max_page_count = 100000")
    store._again_at = 0.0
    store.flush()
    assert (store.failing, store.in_memory) == (False, 0)
    assert until(store) == 39
    assert [each.made_at for each in store.oldest(POSTS, 0, 100, BIG)] == list(range(31, 40))


def test_what_no_disk_took_is_counted_at_the_end(tmp_path: Path) -> None:
    """close() says how many messages are lost."""
    store = Store(tmp_path)
    store._db.execute("PRAGMA query_only = ON")
    store.append([entry(1), entry(2)])
    assert store.close() == 2


@contextlib.contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: to SQLite a disk that takes no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


FILL = (
    "for number in range(1, 61):\n"
    "    store.append([entry(number, size=3000)], {'coverage': {'until': number}})"
)


def test_opened_while_the_disk_is_full(tmp_path: Path) -> None:
    """A disk that takes nothing is no damage: the file and its WAL stay as they are, and the next
    start has all of it.
    """
    killed_after(tmp_path, FILL)
    before = {name: (tmp_path / name).read_bytes() for name in (FILE, f"{FILE}-wal")}
    with files_limited_to(4_096), pytest.raises(StateError, match=r"no damage: make room") as said:
        Store(tmp_path)
    assert "\n" not in str(said.value)
    gc.collect()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    store = Store(tmp_path)
    assert held(store) == [entry(number, size=3000).message for number in range(1, 61)]
    assert (until(store), store.take_damage()) == (60, None)
    store.close()


@pytest.mark.parametrize("size", [20_000, 33_000, 60_000, 120_000])
def test_damage_is_found_while_the_disk_is_full(tmp_path: Path, size: int) -> None:
    """A new file that can't take over what is intact takes nothing from the old one: that is back
    in its place, and gives all of it once there is room.
    """
    killed_after(tmp_path, FILL)
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("UPDATE messages SET data = x'00' WHERE seq = 20")
    wal = other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert wal.fetchone()[0] == 0
    other.close()
    before = (tmp_path / FILE).read_bytes()
    for _ in range(2):
        with files_limited_to(size), pytest.raises(StateError, match="make"):
            Store(tmp_path)
        gc.collect()
        assert (tmp_path / FILE).read_bytes() == before
        assert not list(tmp_path.glob(f"{FILE}.damaged-*"))
    store = Store(tmp_path)
    assert held(store) == [
        entry(number, size=3000).message for number in range(1, 61) if number != 20
    ]
    assert until(store) == 60
    assert store.take_damage() is not None
    store.close()


@pytest.mark.parametrize("found_by", ["reading", "writing"])
def test_damage_while_running_on_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, found_by: str
) -> None:
    """A running process that meets damage while the disk takes no new file goes on: what it reads
    waits in memory, and once there is room the intact rows and those are published in order.
    """
    store = Store(tmp_path)
    for number in range(1, 61):
        store.append([entry(number, size=3000)], {"coverage": {"until": number}})
    with sqlite3.connect(store.path) as other:
        other.execute("UPDATE messages SET data = x'00' WHERE seq = 20")
    other.close()
    with files_limited_to(20_000):
        if found_by == "reading":
            assert [each.made_at for each in store.oldest(POSTS, 0, 100, BIG)] == list(range(1, 20))
        else:
            store._disk_failed(sqlite3.DatabaseError("database disk image is malformed"))
        for number in range(61, 64):
            store.append([entry(number)], {"coverage": {"until": number}})
        store._again_at = 0.0
        store.flush()
        assert store.failing
        assert store.in_memory > 0
        assert held(store) == [], "what is in memory comes after what is on the disk"
        assert store.take_damage() is None
    assert "cannot be used" in caplog.text
    assert store.held == [63, 0]
    store._again_at = 0.0
    store.flush()
    assert (store.failing, store.in_memory) == (False, 0)
    made = [each.made_at for each in store.oldest(POSTS, 0, 100, BIG)]
    assert made == [number for number in range(1, 64) if number != 20]
    damage = store.take_damage()
    assert damage is not None
    assert damage.since == 1
    assert until(store) == 63
    store.close()


def test_in_use_by_a_shell(tmp_path: Path) -> None:
    """A file that another program has locked is not damage."""
    fill(tmp_path, 2)
    shell = sqlite3.connect(tmp_path / FILE)
    shell.execute("PRAGMA locking_mode = EXCLUSIVE")
    shell.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StateError, match="in use by another program"):
        Store(tmp_path)
    shell.close()
    store = Store(tmp_path)
    assert len(held(store)) == 5
    store.close()
