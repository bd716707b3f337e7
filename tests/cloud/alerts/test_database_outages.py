"""The database goes, and people hear of it: by a real webhook, over real SQLite and PostgreSQL, once, and once that it is back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.alerts.delivery import Delivery
from cloud.alerts.message import Links
from cloud.alerts.webhook import Webhook
from cloud.database_outages import DatabaseOutages
from cloud.database_watch import SLOW_S, DatabaseWatch
from cloud.notice_rules import NoticeRules
from cloud.notices import NoticesLoop
from cloud.outage_book import OutageBook
from cloud.ports.needs import Need, Severity
from cloud.ports.notices import Changes, Notice, Outgoing
from cloud.settings import load_settings
from cloud.store.database import CannotOpen, Database
from cloud.store.notices import Notices
from cloud.store.pulse import Pulse
from cloud.store_wiring import check_not_away
from contract.errors import TransientError
from tests.chaos.small_disk import SmallDisk
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import T0
from tests.fakes.hook import Hook
from tests.fixtures_postgres import Postgres

AFTER_S = 60.0
RULES = NoticeRules(cooldown_s=900.0, repeat_s=86_400.0, settle_s=AFTER_S)


class Server:
    """What `serve` runs of it, turned by hand and by a clock of the test's."""

    def __init__(self, database: Database, hook: Hook, file: Path, at: float = T0) -> None:
        self.at = at
        self.book, self.notices = OutageBook(file), Notices(database)
        away = self.book.away_since
        self.watch = DatabaseWatch(
            Pulse(database).beat, database.why_lost, lambda: self.at, told_after_s=AFTER_S,
            away_s=at - away if away is not None else 0.0,
        )  # fmt: skip
        loop = NoticesLoop(
            self.book, self.watch.found, ["chat"], Links("https://p", "https://r"), RULES, lambda: self.at
        )
        self.outages = DatabaseOutages(self.watch, loop, self.book, self.notices, lambda: self.at)
        self.channel = Webhook("chat", hook.url, lambda: self.at)
        self.delivery = Delivery(self.channel, self.book, lambda: self.at, lambda: 1.0)

    def live(self, seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            self.at += 5.0
            self.watch.look()
            self.outages.tick()
            self.delivery.tick()

    def over(self) -> list[str]:
        return [notice.need.key for notice in self.notices.newest(9) if notice.closed_at is not None]


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.stop()


def events(hook: Hook) -> list[str]:
    return [message["event"] for message in hook.messages()]


def losing_sqlite(tmp_path: Path) -> Iterator[tuple[Database, Callable[[], None], Callable[[], None]]]:
    file = tmp_path / "cloud.db"
    with closing(Database(f"sqlite:///{file}")) as database:
        yield database, lambda: file.rename(file.with_name("away")), lambda: file.with_name("away").rename(file)


def losing_postgres(
    server: Postgres, url: str, how: tuple[str, str]
) -> Iterator[tuple[Database, Callable[[], None], Callable[[], None]]]:
    name = url.split("?")[0].rsplit("/", 1)[1]

    def run(statement: str) -> None:
        server.execute(statement.format(name))
        # What stands is told nothing of it: a server that went would have ended it.
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    with closing(Database(url)) as database:
        yield database, lambda: run(how[0]), lambda: run(how[1])


WAYS = {
    "read-only": (
        'ALTER DATABASE "{}" SET default_transaction_read_only = on',
        'ALTER DATABASE "{}" RESET default_transaction_read_only',
    ),
    "away": ('ALTER DATABASE "{}" ALLOW_CONNECTIONS false', 'ALTER DATABASE "{}" ALLOW_CONNECTIONS true'),
}


@pytest.fixture(params=["a file that is moved", *WAYS])
def losing(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Database, Callable[[], None], Callable[[], None]]]:
    if request.param in WAYS:
        server = request.getfixturevalue("postgres")
        yield from losing_postgres(server, request.getfixturevalue("postgres_url"), WAYS[request.param])
    else:
        yield from losing_sqlite(tmp_path)


def test_an_outage_is_told_once_and_its_end_once_and_stands_in_the_tables_afterwards(
    losing: tuple[Database, Callable[[], None], Callable[[], None]], hook: Hook, tmp_path: Path
) -> None:
    database, lose, give_back = losing
    server = Server(database, hook, tmp_path / "outage.json")
    server.live(30)
    assert not server.watch.why() and not hook.asked
    lose()
    server.live(AFTER_S - 10)
    assert server.watch.why() and not hook.asked, "healthz says it at once, people are told when it lasts"
    server.live(600)
    (told,) = hook.messages()
    assert (told["event"], told["severity"], told["kind"], told["key"]) == (
        "opened",
        "page",
        "database gone",
        "database",
    )
    assert told["runbook"] == "https://r#database-gone" and "nothing is stored" in told["what"]
    assert 600 <= server.watch.away_s() <= 660
    give_back()
    server.live(AFTER_S + 30)
    assert events(hook) == ["opened", "resolved"] and server.over() == ["database"] and not server.watch.why()
    server.live(60)
    assert len(server.over()) == 1, "on record once"


def test_one_that_comes_and_goes_makes_no_storm(hook: Hook, tmp_path: Path) -> None:
    ways = losing_sqlite(tmp_path)
    database, lose, give_back = next(ways)
    server = Server(database, hook, tmp_path / "outage.json")
    for _ in range(8):
        lose()
        server.live(AFTER_S + 20)
        give_back()
        server.live(AFTER_S + 20)
    assert 0 < len(hook.messages()) <= 4, events(hook)
    next(ways, None)


def test_a_restart_in_the_middle_tells_nothing_twice_and_the_next_one_says_that_it_is_over(
    hook: Hook, tmp_path: Path
) -> None:
    ways = losing_sqlite(tmp_path)
    database, lose, give_back = next(ways)
    file = tmp_path / "outage.json"
    first = Server(database, hook, file)
    lose()
    hook.status = 503
    first.live(AFTER_S + 30)
    assert hook.asked and not hook.taken, "it waits for its channel"
    hook.status = 204
    second = Server(database, hook, file, first.at + 30)
    second.live(300)
    assert events(hook) == ["opened"]
    give_back()
    third = Server(database, hook, file, second.at + 5)
    third.live(AFTER_S + 30)
    assert events(hook) == ["opened", "resolved"] and third.over() == ["database"]
    next(ways, None)


def test_a_restart_loop_that_never_gets_so_far_as_to_tell_tells_all_the_same(hook: Hook, tmp_path: Path) -> None:
    ways = losing_sqlite(tmp_path)
    database, lose, _ = next(ways)
    lose()
    at = T0
    for _ in range(12):
        server = Server(database, hook, tmp_path / "outage.json", at)
        server.live(10)
        at = server.at + 5.0
    assert events(hook) == ["opened"]
    next(ways, None)


def test_a_look_that_never_ends_is_an_outage(hook: Hook) -> None:
    at = [0.0]
    watch: DatabaseWatch

    def hang() -> None:
        at[0] += SLOW_S - 1
        assert watch.why() == "" and watch.away_s() == 0.0
        at[0] += 100.0
        assert "has not answered for 119 s" in watch.why() and watch.away_s() == 119.0 and watch.found().needs

    watch = DatabaseWatch(hang, str, lambda: at[0], told_after_s=AFTER_S)
    watch.look()
    assert watch.why() == "" and watch.away_s() == 0.0 and not watch.found().needs


def test_a_full_disk_is_an_outage_and_memory_alone_tells_of_it(hook: Hook, tmp_path: Path) -> None:
    try:
        disk = SmallDisk(tmp_path / "disk", 4)
    except PermissionError as error:
        pytest.skip(f"only root may mount a small disk: {error}")
    try:
        with closing(Database(f"sqlite:///{disk.path / 'cloud.db'}")) as database:
            server = Server(database, hook, disk.path / "outage.json")
            server.live(10)
            disk.fill()
            # What is written ahead may have room left in its file: the looks use it up.
            for _ in range(200):
                server.live(5)
                if server.watch.why():
                    break
            assert "disk is full" in server.watch.why()
            server.live(AFTER_S + 10)
            assert events(hook) == ["opened"]
            disk.free()
            server.live(AFTER_S + 30)
            assert events(hook) == ["opened", "resolved"] and server.over() == ["database"]
    finally:
        disk.unmount()


def test_a_pool_whose_connections_all_wait_is_no_fault_of_ours(postgres_url: str) -> None:
    with closing(Database(postgres_url)) as database:
        database.engine.pool._timeout = 0.05  # type: ignore[attr-defined]
        held = [database.engine.connect() for _ in range(10)]
        with pytest.raises(TransientError, match="waits for an answer"), database.read():
            pass
        with pytest.raises(TransientError, match="waits for an answer"), database.write():
            pass
        for connection in held:
            connection.close()


def test_a_server_started_where_the_one_before_saw_the_file_go_makes_no_empty_one(tmp_path: Path) -> None:
    plant = CloudPlant(tmp_path)
    found = load_settings(plant.home / "cloud.toml")
    check_not_away(found, None)
    with pytest.raises(CannotOpen, match="moved away or deleted"):
        check_not_away(found, T0)
    sqlite3.connect(plant.home / "cloud.db").close()
    check_not_away(found, T0)


def test_a_book_whose_file_is_torn_or_cannot_be_written_goes_on_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "outage.json"
    file.write_bytes(b'{"next_id": 1, "noti')
    book = OutageBook(file)
    assert book.away_since is None and not book.open()
    file.unlink()
    file.mkdir()
    book.note_away(T0)
    assert book.away_since == T0


def test_a_clock_that_was_set_back_keeps_no_message_waiting_for_years(hook: Hook, tmp_path: Path) -> None:
    ways = losing_sqlite(tmp_path)
    database, lose, _ = next(ways)
    server = Server(database, hook, tmp_path / "outage.json")
    lose()
    hook.status = 503
    server.live(AFTER_S + 20)
    assert hook.asked and not hook.taken
    hook.status = 204
    server.at -= 10 * 365 * 86_400.0
    server.delivery.tick()
    assert events(hook) == ["opened"]
    next(ways, None)


def _notice(text: str, at: float) -> Notice:
    need = Need("database", "database gone", Severity.PAGE, text, "/", "database-gone")
    return Notice(0, need, at, at, at, 1, None, Severity.PAGE, frozenset({text[:3]}))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["open", "close", "sent", "again", "away"]), st.text(max_size=20)), max_size=8)
)
def test_what_a_book_holds_another_reads_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, str]]
) -> None:
    file = tmp_path_factory.mktemp("book") / "outage.json"
    book, at = OutageBook(file), T0
    for act, text in acts:
        at += 1.0
        if act == "open":
            book.apply(Changes(open=(_notice(text, at),), outgoing=(Outgoing("database", text),)), ["a", "b"], at)
        elif act == "close" and book.open():
            book.apply(Changes(close=(replace(book.open()[0], closed_at=at),)), ["a"], at)
        elif act == "away":
            book.note_away(at if book.away_since is None else None)
        for post in book.due("a", at + 1e6, 1):
            if act == "sent":
                book.sent(post, at)
            elif act == "again":
                book.again(post, text, at + 5.0)
    other = OutageBook(file)
    assert (other.open(), other.unrecorded(), other.away_since) == (book.open(), book.unrecorded(), book.away_since)
    assert [other.due(c, at + 1e6, 99) for c in "ab"] == [book.due(c, at + 1e6, 99) for c in "ab"]
    assert other.told_since(0.0) == book.told_since(0.0)
