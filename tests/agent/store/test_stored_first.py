"""[plc] stored_first: whatever the controller was told is on the disk, wherever the power goes and whatever else the disk does."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.clock import SystemClock
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.modbus_map import Bit, In, Status
from agent.line_io.triggered import ShownRecorder
from agent.ports.line import Answer
from agent.ports.recorder import Result, Sample
from agent.store import recorder as recorder_module
from agent.store.database import FILE_NAME, claim_boot, open_database
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.samples import Samples
from contract.messages import Accounting, Header, SampleNote, Summary
from tests.fakes.agent_line import ListLog
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for

NEVER_S = 3600.0
PIXELS = np.zeros((4, 4), np.uint8)


class Line:
    """A desk before a real store that gathers for an hour; `on_answer` is called with each answer, as it is told."""

    def __init__(self, folder: Path, *, stored_first: bool = True) -> None:
        self.path = folder / FILE_NAME
        self.connection = open_database(self.path)
        outbox = Outbox(self.connection, boot=claim_boot(self.connection, self.path))
        self.samples = Samples(self.connection, folder / "samples")
        self.log = ListLog()
        self.disk = GroupRecorder(self.connection, outbox, self.samples, self.log, linger_s=NEVER_S)
        self.desk = Desk(DeskRules(timeout_s=NEVER_S, waiting=64), SystemClock())
        self.told: list[Answer] = []
        self.on_answer: Callable[[Answer], None] = lambda _answer: None
        self.desk.show = self._tell
        self.shown = ShownRecorder(self.disk, self.desk, stored_first=stored_first)
        if stored_first:
            self.disk.tell_stored(self.shown)
        self.disk.start()

    def judge(self, part: str, *, image: bool = False) -> None:
        """Ask for `part`, and give its frame its verdict."""
        assert self.desk.trigger(part, part) is None
        taken = self.desk.take(float("inf"))
        assert taken is not None
        note = SampleNote(part, 1.0, part, "good", 0.6, "PASS", "audit", 1.0, 0.0)
        result = Result(1, 1.0, part, "PASS", "", "good", 0.9, 3.0, "b" * 64, asked=taken[0])
        assert self.shown.record(result, Sample(note, PIXELS) if image else None)

    def parts(self) -> list[str]:
        return rows_in(self.path)

    def close(self) -> None:
        self.disk._wake.set()
        self.disk.stop(60.0)
        self.connection.close()

    def _tell(self, answer: Answer) -> None:
        self.on_answer(answer)
        self.told.append(answer)


def summary() -> Summary:
    return Summary(Header("s1", "", 0, 1.0, 2.0, 3.0, True, "b" * 64), Accounting(captured=2, passed=2))


def rows_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [str(part) for (part,) in connection.execute("SELECT part FROM results ORDER BY id")]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.close()


def copied(line: Line, to: Path, torn: bytes) -> list[str]:
    """Return the parts in a copy of the disk as it is now, with the next write to the log cut off after `torn`."""
    to.mkdir()
    shutil.copy(line.path, to / FILE_NAME)
    log = to / f"{FILE_NAME}-wal"
    shutil.copy(line.path.with_name(log.name), log)
    with log.open("ab") as file:
        file.write(torn)
    with closing(open_database(to / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [str(part) for (part,) in connection.execute("SELECT part FROM results ORDER BY id")]


@pytest.mark.parametrize("torn", [b"", b"\0" * 24, b"\xa5" * 3000, b"\0" * 4120])
def test_every_verdict_that_was_told_is_in_a_copy_of_the_disk_made_as_it_is_told(
    tmp_path: Path, line: Line, torn: bytes
) -> None:
    missing: list[str] = []

    def power_cut(answer: Answer) -> None:
        found = copied(line, tmp_path / f"copy-{answer.part}", torn)
        missing.extend(each for each in [*(told.part for told in line.told), answer.part] if each not in found)

    line.on_answer = power_cut
    for n in range(6):
        line.judge(f"p{n}", image=n % 2 == 0)
    wait_for(lambda: len(line.told) == 6)
    assert missing == []
    assert [(each.verdict, each.cause) for each in line.told] == [("PASS", "")] * 6
    # A copy reads the kernel's cache; this has the log flushed with each commit. Source: sqlite.org/pragma.html
    assert line.connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_without_it_a_verdict_is_told_before_its_record_is_anywhere(tmp_path: Path) -> None:
    line = Line(tmp_path, stored_first=False)
    line.judge("p")
    assert [each.part for each in line.told] == ["p"]
    assert line.parts() == []
    line.close()
    assert rows_in(line.path) == ["p"]


def test_a_verdict_waits_for_no_image(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, write = threading.Event(), line.samples.write

    def slow(*given: Any) -> int:
        assert go_on.wait(60.0)
        return write(*given)

    monkeypatch.setattr(line.samples, "write", slow)
    line.judge("p", image=True)
    wait_for(lambda: len(line.told) == 1)
    assert line.parts() == ["p"]
    go_on.set()
    line.close()
    with closing(sqlite3.connect(line.path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM samples").fetchone() == (1,)


def test_a_verdict_behind_a_windows_end_waits_for_no_other(line: Line) -> None:
    storing, go_on = threading.Event(), threading.Event()

    def held_up(answer: Answer) -> None:
        if answer.part == "a":
            storing.set()
            assert go_on.wait(60.0)

    line.on_answer = held_up
    line.judge("a")
    assert storing.wait(60.0)
    assert line.disk.close_window(1, summary())
    line.judge("b")
    go_on.set()
    wait_for(lambda: len(line.told) == 2)


def test_a_disk_that_refuses_means_no_verdict_and_never_a_pass_without_a_record(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, add = threading.Event(), recorder_module.add_results
    full.set()

    def refuses(*given: Any) -> range:
        if full.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        return add(*given)

    monkeypatch.setattr(recorder_module, "add_results", refuses)
    line.judge("p")
    wait_for(lambda: not line.disk.healthy())
    assert line.told == []
    line.desk.close()  # as its time runs out
    assert [(each.verdict, each.lost is not None) for each in line.told] == [("REJECT", True)]
    full.clear()
    wait_for(line.disk.healthy)
    wait_for(lambda: line.desk.counts().late == 1)
    assert line.parts() == ["p"] and len(line.told) == 1, "one part never has two answers"


def test_what_is_told_is_told_once_and_stored_once_though_its_image_is_refused_and_tried_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, add = [sqlite3.OperationalError("disk I/O error"), sqlite3.OperationalError("disk I/O error")], Samples.add

    def refuses(samples: Samples, *given: Any) -> None:
        if left:
            raise left.pop()
        add(samples, *given)

    monkeypatch.setattr(Samples, "add", refuses)
    line.judge("a", image=True)
    line.judge("b", image=True)
    wait_for(lambda: not left and line.disk.healthy())
    assert line.disk.close_window(1, summary())
    line.close()
    assert rows_in(line.path) == ["a", "b"]
    assert [each.part for each in line.told] == ["a", "b"]
    with closing(sqlite3.connect(line.path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM samples").fetchone() == (2,)
        assert connection.execute("SELECT COUNT(*) FROM outbox").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("stored_first", [True, False])
def test_a_station_that_is_killed_as_the_controller_reads_a_verdict_has_its_record(
    tmp_path: Path, stored_first: bool
) -> None:
    port = free_port()
    keys = f'[plc]\nkind = "modbus"\nport = {port}\nheartbeat_s = 20\ntimeout_ms = 120000\n'
    keys += f"stored_first = {str(stored_first).lower()}\n[api]\nport = 0\n"
    station = Station(tmp_path, free_port(), extra=keys)
    text = (
        station.config.read_text()
        .replace("commit_s = 0.1", "commit_s = 600.0")
        .replace("seconds = 1.0", "seconds = 600.0")
    )
    station.config.write_text(text.replace("frames = 10\n", "frames = 1000\n"))
    try:
        station.start()
        with closing(ModbusPlc.at_last(port)) as plc:
            plc.begin()
            plc.until(lambda seen: bool(seen[In.STATE] & Bit.READY))
            for n in range(1, 6):
                plc.ask(n, f"part-{n}")
                assert plc.answered(n)[In.STATUS] == Status.VERDICT
        station.end(signal.SIGKILL)
        told = [f"part-{n}" for n in range(1, 6)]
        assert [part for (part,) in station.query("SELECT part FROM results ORDER BY id")] == (
            told if stored_first else []
        )
    finally:
        station.close()
