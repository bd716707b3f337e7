"""A kill at the worst moment: between a verdict and the books, twice before the station begins, on a disk that takes nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.causes import Cause, Drop
from agent.line_io import line_books
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.line_books import KILLED, MARK, BooksBefore, Counted, LineBooks, read_books, settle_books
from agent.plc_wiring import Plc
from agent.ports.recorder import Result
from agent.settings import load_settings
from agent.store.running_mark import RunningMark, kernel_boot, mark_name, read_mark
from tests.fakes.agent_clock import HandClock
from tests.fakes.modbus_line import QuietLog

BOOT = b"this boot"
STEPS = st.lists(st.sampled_from(["ask", "take", "judge", "fault", "wait", "count", "lost"]), max_size=16)


class Process:
    """A process: its desk, its books in `folder`, its count of the frames; `old` are the books as they lay at some moment."""

    def __init__(self, folder: Path, *, missed: int = 0, kernel: bytes = BOOT) -> None:
        self.folder, self.clock = folder, HandClock()
        self.desk = Desk(DeskRules(timeout_s=1.0, waiting=64), self.clock, missed=missed)
        self.mark = RunningMark(folder / mark_name(""), "b0")
        self.books = LineBooks(self.desk, folder / MARK, kernel)
        self.books.begin()
        self.told_missed = 0
        self.taken: list[int] = []
        self.unseen = 0
        """Parts that are in no count and need not be: a fault is a verdict of its own, a frame in hand goes with the process."""

    def do(self, step: str) -> None:
        if step == "ask":
            self.desk.trigger(self.desk.counts().triggers, "")
        elif step == "take" and (got := self.desk.take(self.clock.monotonic(), in_order=True)):
            self.taken.append(got[0])
        elif step == "judge" and self.taken:
            self.record()
            self.desk.came_out(judged(self.taken.pop(0)), recorded=True)
        elif step == "fault":
            lost = self.desk.counts().lost
            self.desk.take_fault(Cause.CAMERA_FAULT)
            self.unseen += self.desk.counts().lost != lost
        elif step == "wait":
            self.clock.forward(2.0)
            self.desk.expire()
        elif step == "count" and self.desk.missed > self.told_missed:
            self.mark.count_dropped(1, Drop.MISSED_TRIGGER.value, self.desk.missed - self.told_missed, 1.0)
            self.told_missed = self.desk.missed
        elif step == "lost":
            self.desk.last_call()

    def record(self) -> None:
        self.mark.count(1, 1.0, asked=True)

    def killed(self, old: Path) -> None:
        """End, with the books as they lay in `old`."""
        self.books.close()
        self.mark.close()
        shutil.copy(old, self.folder / MARK)


def judged(number: int) -> Result:
    return Result(1, 1.0, "p", "PASS", "", "ok", 0.9, 5.0, "d", asked=number)


def counted(folder: Path) -> Callable[[str], Counted]:
    def of(camera: str) -> Counted:
        left = read_mark(folder / mark_name(camera))
        return Counted(left.asked, left.missed)

    return of


def kept_now(process: Process, name: str) -> Path:
    """Return a copy of the books, which say what the desk says now."""
    assert process.books._keep()
    return Path(shutil.copy(process.folder / MARK, process.folder / name))


def check_closes(before: BooksBefore) -> None:
    ends = sum(n for key, n in before.counts.items() if key == "answered" or key.startswith(("lost: ", "refused: ")))
    assert before.counts["triggers"] == ends, before.counts


@given(STEPS, STEPS, st.integers(0, 3), st.booleans())
def test_no_part_is_counted_twice_and_none_that_the_books_knew_is_forgotten(
    tmp_path_factory: pytest.TempPathFactory, known: list[str], since: list[str], carried: int, halfway: bool
) -> None:
    folder = tmp_path_factory.mktemp("books")
    process = Process(folder, missed=carried)
    for step in known:
        process.do(step)
    old, unseen = kept_now(process, "old"), process.unseen
    for step in since:
        process.do(step)
    if halfway and process.taken:
        process.record()  # and killed before the desk knew
    process.killed(old)
    counts, mark = process.desk.counts(), read_mark(folder / mark_name(""))
    before = read_books(folder / MARK, BOOT, counted(folder))
    taken_in = carried + counts.triggers - sum(counts.refused.values()) - unseen
    assert mark.asked + mark.missed + before.missed <= taken_in
    in_hand = sum(n for cause, n in counts.lost.items() if cause != "fault") + carried - process.desk.missed
    if not {"ask", "fault", "lost"} & set(since) and not process.unseen and not in_hand:
        assert mark.asked + mark.missed + before.missed == taken_in
        check_closes(before)


def test_a_verdict_that_the_books_did_not_know_of_is_neither_lost_nor_a_part_that_was_never_seen(
    tmp_path: Path,
) -> None:
    process = Process(tmp_path)
    process.do("ask")
    process.do("ask")
    process.do("take")
    old = kept_now(process, "old")
    process.do("judge")
    process.do("ask")
    process.do("take")
    process.do("judge")
    process.do("take")
    process.do("judge")
    process.killed(old)
    before = read_books(tmp_path / MARK, BOOT, counted(tmp_path))
    assert (before.missed, before.counts.get(KILLED)) == (0, None)
    assert (before.counts["triggers"], before.counts["answered"]) == (3, 3)
    check_closes(before)


def test_a_process_that_is_killed_before_it_begins_neither_forgets_nor_doubles_what_another_left(
    tmp_path: Path,
) -> None:
    process = Process(tmp_path)
    for step in ("ask", "wait", "count", "ask", "wait", "ask"):  # one missed and counted, one missed, one open
        process.do(step)
    process.killed(kept_now(process, "old"))
    for _ in range(3):
        before = settle_books(tmp_path / MARK, BOOT, counted(tmp_path))
        assert (before.missed, before.counts[KILLED], before.counts["lost: timeout"]) == (2, 1, 2)
        check_closes(before)
        RunningMark(tmp_path / mark_name(""), "b0").close()  # its own count takes the place of the one before
    process = Process(tmp_path, missed=before.missed)
    process.do("count")
    process.killed(kept_now(process, "old"))
    assert read_books(tmp_path / MARK, BOOT, counted(tmp_path)).missed == 0, "they stand in a window"


def test_what_another_process_left_is_told_until_a_window_counts_it(tmp_path: Path) -> None:
    process = Process(tmp_path, missed=2)
    process.killed(kept_now(process, "old"))  # before the line turned once
    assert read_books(tmp_path / MARK, BOOT, counted(tmp_path)).missed == 2


def test_books_that_cannot_be_written_over_are_not_told_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(tmp_path)
    process.do("ask")
    process.killed(kept_now(process, "old"))

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = settle_books(tmp_path / MARK, BOOT, counted(tmp_path))
    monkeypatch.setattr(line_books.os, "pwrite", full)
    books = LineBooks(Desk(DeskRules(), HandClock(), missed=before.missed), tmp_path / MARK, BOOT)
    books.begin()
    books.close()
    assert (before.missed, read_books(tmp_path / MARK, BOOT).missed) == (1, 0)


def test_a_station_settles_what_was_left_against_the_mark_of_its_controllers_camera(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('station = "s"\nhome = "."\n[plc]\nkind = "modbus"\n')
    kernel = kernel_boot()
    process = Process(tmp_path, kernel=kernel)
    process.do("ask")
    process.do("take")
    old = kept_now(process, "old")
    process.do("judge")
    process.killed(old)
    plc = Plc(load_settings(tmp_path / "agent.toml"), HandClock(), QuietLog())
    assert plc.missed("") == 0
    before = read_books(tmp_path / MARK, kernel)
    assert (before.counts["triggers"], before.counts["answered"]) == (1, 1), "settled where the next one finds it"


def test_a_station_that_served_no_controller_for_a_while_counts_no_part_a_second_time(tmp_path: Path) -> None:
    config, kernel = tmp_path / "agent.toml", kernel_boot()
    process = Process(tmp_path, kernel=kernel)
    for step in ("ask", "wait", "count"):
        process.do(step)
    process.books.close()
    process.mark.close()
    for kind in ("", "modbus"):
        config.write_text(f'station = "s"\nhome = "."\n[plc]\nkind = "{kind}"\n')
        plc = Plc(load_settings(config), HandClock(), QuietLog())
        RunningMark(tmp_path / mark_name(""), "b1").close()  # its own count takes the place of the one before
    assert plc.missed("") == 0, "it stands in a window"
