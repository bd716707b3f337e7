"""Nothing that happens inside the recorder's thread ends it: what no disk explains is counted, said, and at worst let go alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.ports.recorder import Result, Sample
from agent.store.database import claim_boot, open_database
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.retention import Retention
from agent.store.samples import Samples
from contract.codec import decode_summary
from contract.messages import Accounting, Header, SampleNote, Summary
from tests.fakes.agent_line import ListLog

UNSTORABLE = "line\ud800"  # half a surrogate pair: no database and no wire can hold it


class Store:
    """A recorder over a real database in `folder`, running."""

    def __init__(self, folder: Path, retention: type[Retention] = Retention) -> None:
        path = folder / "agent.sqlite"
        self.connection = open_database(path)
        self.reader = open_database(path)
        self.log = ListLog()
        outbox = Outbox(self.connection, boot=claim_boot(self.connection, path))
        samples = Samples(self.connection, folder / "samples")
        self.recorder = GroupRecorder(
            self.connection,
            outbox,
            samples,
            self.log,
            linger_s=0.02,
            retention=retention(self.connection, outbox, samples, keep_rows=1000),
        )
        self.recorder.start()

    def parts(self) -> list[str]:
        return [row[0] for row in self.reader.execute("SELECT part FROM results ORDER BY id")]

    def summaries(self) -> list[Summary]:
        return [decode_summary(row[0]) for row in self.reader.execute("SELECT payload FROM outbox ORDER BY id")]

    def close(self) -> None:
        self.recorder.stop(60.0)
        self.connection.close()
        self.reader.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    stores: list[Store] = []

    def build(*arguments: Any) -> Store:
        stores.append(Store(tmp_path, *arguments))
        return stores[-1]

    yield build
    for store in stores:
        store.close()


def result(part: str, window: int = 1) -> Result:
    return Result(window, 1_795_200_000.0, part, "PASS", "", "good", 0.9, 3.0, "b" * 64)


def summary(captured: int, note: str = "") -> Summary:
    header = Header("s1", "", 0, 1.0, 2.0, 3.0, True, "b" * 64)
    return Summary(header, Accounting(captured=captured, passed=captured), note=note)


def wait_until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60.0
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.005)


def test_a_result_that_cannot_be_stored_goes_alone_and_is_counted_and_said(make: Callable[..., Store]) -> None:
    store = make()
    for part in ("a", UNSTORABLE, "b"):
        assert store.recorder.record(result(part), None)
    wait_until(lambda: store.recorder.faults > 0)
    wait_until(lambda: store.parts() == ["a", "b"])
    store.recorder.record(result("c"), None)
    wait_until(store.recorder.healthy)
    assert store.recorder.close_window(1, summary(4))
    assert store.recorder.stop(60.0)
    assert store.parts() == ["a", "b", "c"]
    assert store.recorder.faults > 0
    (told,) = store.summaries()
    assert told.accounting.closes() and "1 result rows (they could not be stored)" in told.note
    assert any("every verdict is REVIEW" in line and "UnicodeEncodeError" in line for line in store.log.lines)


def test_what_is_unstorable_when_the_station_stops_takes_nothing_else_with_it(make: Callable[..., Store]) -> None:
    store = make()
    for part in (UNSTORABLE, "a"):
        store.recorder.record(result(part), None)
    store.recorder.close_window(1, summary(2))
    store.recorder.record(result("b", 2), None)
    store.recorder.stop(60.0)
    assert store.parts() == ["a", "b"] and len(store.summaries()) == 1


def test_a_summary_that_cannot_be_stored_is_stored_bare_with_every_count(make: Callable[..., Store]) -> None:
    store = make()
    store.recorder.record(result("a"), None)
    store.recorder.close_window(1, summary(1, note=UNSTORABLE))
    wait_until(lambda: len(store.summaries()) == 1)
    (told,) = store.summaries()
    assert told.accounting == Accounting(captured=1, passed=1)
    assert "could not be stored" in told.note
    store.recorder.close_window(2, msgspec.structs.replace(summary(0), note="next"))
    assert store.recorder.stop(60.0)
    assert [each.note for each in store.summaries()][1] == "next"


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.complex128)])
def test_an_image_no_file_can_hold_costs_the_image_and_not_the_result(make: Callable[..., Store], pixels: Any) -> None:
    store = make()
    note = SampleNote("b-1-1", 1.0, "a", "good", 0.5, "REVIEW", "hard", 1.0)
    store.recorder.record(result("a"), Sample(note, pixels))
    store.recorder.close_window(1, summary(1))
    assert store.recorder.stop(60.0)
    assert store.parts() == ["a"] and store.recorder.healthy()
    (told,) = store.summaries()
    assert told.samples == () and "1 images (the disk refused them)" in told.note


def test_an_image_refused_while_its_batch_is_tried_again_and_again_is_counted_once(make: Callable[..., Store]) -> None:
    store = make()
    note = SampleNote("b-1-1", 1.0, "a", "good", 0.5, "REVIEW", "hard", 1.0)
    store.recorder.record(result("a"), Sample(note, np.zeros((4, 4, 5), np.uint8)))
    store.recorder.record(result(UNSTORABLE), None)
    wait_until(lambda: store.parts() == ["a"])
    store.recorder.close_window(1, summary(2))
    assert store.recorder.stop(60.0)
    assert "1 images (the disk refused them)" in store.summaries()[0].note


class Stumbling(Retention):
    """Fails the first `times` times in a way that nobody foresaw."""

    times = 4

    def make_room(self) -> list[str]:
        if self.times:
            self.times -= 1
            raise RuntimeError("nobody foresaw this")
        return super().make_room()


def test_a_fault_of_our_own_that_passes_costs_nothing_but_time(make: Callable[..., Store]) -> None:
    store = make(Stumbling)
    for part in ("a", "b"):
        store.recorder.record(result(part), None)
    store.recorder.close_window(1, summary(2))
    wait_until(lambda: store.recorder.faults == Stumbling.times)
    wait_until(store.recorder.healthy)
    assert store.recorder.stop(60.0)
    assert store.parts() == ["a", "b"]
    assert [each.accounting.captured for each in store.summaries()] == [2]
    told = [line for line in store.log.lines if "RuntimeError: nobody foresaw this" in line]
    assert told and all("every verdict is REVIEW until they can" in line for line in told)


class Broken(Stumbling):
    times = 10**9


def test_a_fault_of_our_own_that_stays_keeps_the_verdicts_at_review_and_never_drops_a_window(
    make: Callable[..., Store],
) -> None:
    store = make(Broken)
    store.recorder.record(result("a"), None)
    store.recorder.close_window(1, summary(1))
    wait_until(lambda: store.recorder.faults >= 6)
    assert not store.recorder.healthy()
    # Its rows are stored and no later window may close before it: the next start recovers it from them.
    assert not store.recorder.stop(10.0)
    assert store.parts() == ["a"] and store.summaries() == []
