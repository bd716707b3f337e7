"""Triggers = answered + refused + lost: over a stop, over a `kill -9`, and in the windows' accounting of parts never seen."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agent.decide.accounting import add_up
from agent.decide.causes import Cause
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.line_books import KILLED, MARK, LineBooks, flat, read_books
from agent.line_io.line_teller import FACT, LineTeller, line_of
from agent.line_io.modbus_map import Bit, In, Reason, Status
from agent.line_io.plc_loop import PlcLoop
from agent.ports.line import Answer, Lost
from agent.ports.recorder import Result
from agent.store.running_mark import kernel_boot
from contract.codec import decode_summary
from contract.messages import Accounting
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import DictMemory, ListLog, image
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for

BOOT, OTHER_BOOT = b"this boot", b"another boot"
STEPS = st.lists(st.sampled_from(["ask", "again", "take", "judge", "fault", "wait", "last call", "close"]), max_size=30)


def judged(number: int) -> Result:
    return Result(1, 1.0, "p", "PASS", "", "ok", 0.9, 5.0, "d", asked=number)


def test_at_the_last_call_what_nobody_saw_is_lost_and_missed_and_what_was_seen_has_its_verdict_still() -> None:
    said: list[Answer] = []
    desk = Desk(DeskRules(timeout_s=60.0), HandClock())
    desk.show = said.append
    desk.trigger(1, "seen")
    taken = desk.take(1e9)
    assert taken is not None
    desk.trigger(2, "never")
    desk.last_call()
    assert [(each.ask, each.verdict, each.lost) for each in said] == [(2, "REJECT", Lost.STOPPED)] and desk.missed == 1
    assert desk.trigger(3, "too late") is not None and not desk.state().ready
    desk.came_out(judged(taken[0]), recorded=True)
    assert [(each.ask, each.verdict, each.lost) for each in said[1:]] == [(1, "PASS", None)]
    desk.close()
    counts = desk.counts()
    assert (counts.triggers, counts.answered, counts.lost, counts.refused) == (3, 1, {"stopped": 1}, {"not_ready": 1})


@given(STEPS)
def test_wherever_a_process_is_killed_its_books_close(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("books") / MARK
    clock = HandClock()
    desk = Desk(DeskRules(timeout_s=1.0, waiting=3), clock)
    kept = LineBooks(desk, path, BOOT)
    kept.begin()
    taken: list[int] = []
    for n, step in enumerate(steps):
        if step in ("ask", "again"):
            desk.trigger(n if step == "ask" else -1, "")
        elif step == "take" and (got := desk.take(clock.monotonic(), in_order=True)):
            taken.append(got[0])
        elif step == "judge" and taken:
            desk.came_out(judged(taken.pop()), recorded=True)
        elif step == "fault":
            desk.take_fault(Cause.CAMERA_FAULT)
        elif step == "wait":
            clock.forward(0.6)
            desk.expire()
        elif step in ("last call", "close"):
            desk.last_call() if step == "last call" else desk.close()
    kept.close()
    open_now, books = desk.counts().waiting, read_books(path, BOOT)
    assert books.missed == open_now == books.counts.get(KILLED, 0)
    ends = sum(n for key, n in books.counts.items() if key == "answered" or key.startswith(("lost: ", "refused: ")))
    assert books.counts["triggers"] == ends, books.counts
    assert {key: n for key, n in flat(desk.counts()).items() if key != "waiting"}.items() <= books.counts.items()
    assert read_books(path, OTHER_BOOT).missed == 0, "after a power cut nobody knows what was open"


@pytest.mark.parametrize("torn", [b"", b"{", b"\xff\xfe", b'{"kernel": "", "counts": []}', b" " * 1024])
def test_a_mark_that_cannot_be_read_says_nothing(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / MARK).write_bytes(torn)
    books = read_books(tmp_path / MARK, BOOT)
    assert (books.counts, books.missed) == ({}, 0)
    assert read_books(tmp_path / "none", BOOT).counts == {}


def test_the_books_follow_the_desk_and_what_was_left_is_there_until_they_begin(tmp_path: Path) -> None:
    path, desk = tmp_path / MARK, Desk(DeskRules(timeout_s=60.0), HandClock())
    desk.trigger(1, "")
    first = LineBooks(desk, path, BOOT)
    first.begin()
    second = LineBooks(Desk(DeskRules(), HandClock()), path, BOOT)
    assert read_books(path, BOOT).missed == 1
    desk.trigger(2, "")
    wait_for(lambda: read_books(path, BOOT).missed == 2)
    first.close()
    second.begin()
    assert read_books(path, BOOT).missed == 0
    second.close()
    second.close()


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    books = LineBooks(Desk(DeskRules(), HandClock()), tmp_path / "gone" / MARK, BOOT)
    books.begin()
    books.close()


def test_the_books_of_the_process_before_are_told_beside_those_of_this_one() -> None:
    clock, memory = HandClock(), DictMemory()
    loop = PlcLoop(Desk(DeskRules(), clock), lambda _desk: pytest.fail(), clock, ListLog(), heartbeat_s=1.0)
    LineTeller(loop, memory, clock, {"triggers": 2, "answered": 1, KILLED: 1}).tell()
    told = line_of(memory.facts[FACT])
    assert told["triggers_before"] == {"triggers": 2, "answered": 1, "lost: killed": 1}
    assert told["triggers"]["triggers"] == 0  # type: ignore[index]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def station(tmp_path: Path, port: int) -> Iterator[Station]:
    """A station whose camera gives the first part its image, and the next one's after minutes."""
    plc = f'[plc]\nkind = "modbus"\nport = {port}\nheartbeat_s = 2\ntimeout_ms = 120000\n[api]\nport = 0\n'
    made = Station(tmp_path, free_port(), extra=plc)
    (tmp_path / "images").mkdir()
    Image.fromarray(image(230)).save(tmp_path / "images" / "part.png")
    slow = '[source]\nkind = "folder"\nfolder = "images"\nfps = 0.005\n'
    made.config.write_text(made.config.read_text().replace("[source]\nfps = 200.0\n", slow))
    yield made
    made.close()


def asked(port: int, unseen: int) -> ModbusPlc:
    """Return a PLC that had one part's verdict, and asked for so many more which nobody will see."""
    plc = ModbusPlc.at_last(port)
    plc.begin()
    plc.until(lambda seen: bool(seen[In.STATE] & Bit.READY), 60.0)
    plc.ask(1, "part-1")
    assert plc.answered(1, 60.0)[In.STATUS] == Status.VERDICT
    for number in range(2, unseen + 2):
        plc.ask(number, f"part-{number}")
    assert plc.inputs()[In.WAITING] == unseen
    return plc


def accounts(station: Station) -> Accounting:
    """Return what all windows say together."""
    told = [decode_summary(payload).accounting for (payload,) in station.query("SELECT payload FROM outbox")]
    assert all(each.closes() for each in told)
    return add_up(told)


@pytest.mark.slow
def test_parts_that_wait_at_a_stop_or_a_kill_are_ejected_and_stand_in_a_windows_account(
    station: Station, port: int
) -> None:
    station.start()
    with closing(asked(port, 3)) as plc:
        station.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        seen = plc.answered(4)
        assert (seen[In.STATUS], seen[In.REASON], seen[In.STATE] & Bit.READY) == (Status.LOST, Reason.STOPPED, 0)
    assert station.end(signal.SIGCONT) == 0
    told = accounts(station)
    assert (told.captured, told.dropped) == (4, {"missed_trigger": 3})
    triggers = station.status()["triggers"]
    assert (triggers["triggers"], triggers["answered"], triggers["lost: stopped"]) == (4, 1, 3)
    station.start()
    asked(port, 2).close()
    wait_for(lambda: read_books(station.folder / "state" / MARK, kernel_boot()).missed == 2)
    station.end(signal.SIGKILL)
    station.start()
    asked(port, 0).close()
    assert station.end(signal.SIGTERM) == 0
    before = station.status()["triggers_before"]
    assert (before["triggers"], before["answered"], before["lost: killed"]) == (3, 1, 2)
    told = accounts(station)
    assert (told.captured, told.dropped) == (8, {"missed_trigger": 5}), "three verdicts, five parts never seen"
