"""Asking after the verdict: real SQLite, real image files, a real HTTP server; only the clock is turned by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from agent.ports.policy import ImagesLeave
from agent.second_opinions import OpinionRules, SecondOpinions
from agent.store.memory import SqliteMemory
from agent.uplink.circuit import Circuit
from agent.uplink.deferred import HttpOpinions
from contract.errors import TransientError
from contract.manifest import Label, LabelKind, Manifest, Thresholds
from contract.messages import OpinionsNote
from tests.agent.opinions_plant import BUNDLE, NEWER, OpinionsPlant
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog
from tests.fakes.opinion_cloud import OpinionCloud, opinion_cloud, said
from tests.tiny_bundle import manifest_of

MIB = 1 << 20


class Asker:
    """The thread's work, one step at a time."""

    def __init__(self, plant: OpinionsPlant, cloud: OpinionCloud, client: httpx.Client, **rules: Any) -> None:
        self.plant, self.cloud = plant, cloud
        self.clock, self.log = HandClock(), ListLog()
        self.manifests: dict[str, Manifest] = {BUNDLE: manifest_of(b"model")}
        self.line_is_pressed = False
        self.rules = OpinionRules(
            **({"policy": plant.policy, "per_hour": 1_000.0, "bytes_per_day": 64.0 * MIB} | rules)
        )
        self.client = client
        self.start()

    def start(self) -> None:
        """Begin as a process does: with nothing but what is on the disk."""
        source = HttpOpinions(
            self.client, self.cloud.url, "s1", self.clock, timeout_s=20.0, circuit=Circuit(trip_after=3, rest_s=60.0)
        )
        self.loop = SecondOpinions(
            self.plant.queue,
            self.plant.kept,
            source,
            self.manifests.get,
            SqliteMemory(self.plant.worker_connection),
            self.clock,
            self.log,
            self.rules,
            roll=lambda: 1.0,
            pressed=lambda: self.line_is_pressed,
        )

    def steps(self, number: int) -> list[float]:
        """Do `number` steps at one moment; return what each says to wait."""
        return [self.loop.step() for _ in range(number)]

    def for_s(self, seconds: float) -> int:
        """Run for a while by the hand clock; return how many images came to the cloud in it."""
        before, until = len(self.cloud.requests), self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            self.clock.forward(max(0.01, min(self.loop.step(), until - self.clock.monotonic())))
        return len(self.cloud.requests) - before


@pytest.fixture
def cloud() -> Iterator[OpinionCloud]:
    with opinion_cloud() as server:
        yield server


@pytest.fixture
def make(tmp_path: Path, cloud: OpinionCloud) -> Iterator[Callable[..., Asker]]:
    plants: list[OpinionsPlant] = []
    with httpx.Client(headers={"Authorization": "Bearer t"}) as client:

        def make(policy: ImagesLeave = ImagesLeave.REQUESTED, **rules: Any) -> Asker:
            plants.append(OpinionsPlant(tmp_path, policy))
            return Asker(plants[-1], cloud, client, **rules)

        yield make
    for plant in plants:
        plant.close()


def record(asker: Asker, *names: str, **options: Any) -> None:
    for name in names:
        asker.plant.frame(name, **options)
    asker.plant.commit()


def test_the_oldest_kept_image_is_shown_and_what_was_said_is_stored(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "first", "second", label="scratch")
    asker.cloud.body = said("scratch", 0.97, 0.03)
    asker.steps(1)
    asker.cloud.body = said("good", 0.6, 0.6)
    asker.steps(1)
    assert asker.cloud.images() == [(asker.plant.folder / f"samples/{n}.png").read_bytes() for n in ("first", "second")]
    assert asker.plant.rows("sample, state, label, confidence, good, verdict, agreed, model, ended_at") == [
        ("first", "answered", "scratch", 0.97, 0.03, "REJECT", 1, "large fp32", asker.clock.now()),
        ("second", "answered", "good", 0.6, 0.6, "REVIEW", 0, "large fp32", asker.clock.now()),
    ]
    assert asker.steps(1) == [asker.rules.idle_s]
    verdicts = asker.plant.connection.execute("SELECT DISTINCT verdict, cause FROM results").fetchall()
    assert verdicts == [("REVIEW", "unsure")], "what the line was told stays"
    asker.plant.close_window()
    asker.plant.commit()
    assert asker.plant.told() == [OpinionsNote(queued=2, answered=2, rejected=1, unsure=1, agreed=1)]


def test_an_answer_is_judged_by_the_labels_and_thresholds_of_the_bundle_that_judged(
    make: Callable[..., Asker],
) -> None:
    asker = make()
    old = manifest_of(b"old", pass_at=0.99)
    renamed = (Label("in Ordnung", LabelKind.GOOD), Label("Kratzer", LabelKind.DEFECT))
    new = msgspec.structs.replace(manifest_of(b"new"), labels=renamed, thresholds=Thresholds(0.5, 0.5))
    asker.manifests |= {BUNDLE: old, NEWER: new}
    record(asker, "old")
    record(asker, "new", bundle=NEWER)
    asker.cloud.body = said("good", 0.95, 0.95)
    asker.steps(1)
    asker.cloud.body = said("in Ordnung", 0.95, 0.95)
    asker.steps(1)
    assert [headers["X-Plumbline-Bundle"] for _, headers, _ in asker.cloud.requests] == [BUNDLE, NEWER]
    assert asker.plant.rows("sample, label, verdict") == [("old", "good", "REVIEW"), ("new", "in Ordnung", "PASS")]


def test_a_label_that_the_bundle_never_had_is_no_opinion(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "x")
    asker.cloud.body = said("in Ordnung", 0.95, 0.95)
    asker.steps(1)
    ((state, gone, detail),) = asker.plant.rows("state, gone, detail")
    assert (state, gone) == ("gone", "refused") and "no label of bundle" in str(detail)


def test_p8_where_no_image_leaves_not_one_byte_does(make: Callable[..., Asker]) -> None:
    # Queued under the policy of yesterday; today's forbids it, and nobody called `forget_forbidden`.
    record(make(), "hard", "second")
    asker = make(ImagesLeave.NEVER)
    record(asker, "third")
    asker.for_s(7 * 86_400.0)
    assert asker.cloud.requests == []
    assert "third" not in [row[0] for row in asker.plant.rows("sample")]


def test_p8_where_only_unsure_frames_leave_a_drifted_one_stays(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "drifted", cause="drifted", reason="review")
    record(asker, "hard")
    asker = make(ImagesLeave.UNSURE)
    asker.for_s(60.0)
    assert asker.cloud.images() == [(asker.plant.folder / "samples/hard.png").read_bytes()]
    assert asker.plant.rows("sample, state, gone") == [("drifted", "gone", "policy"), ("hard", "answered", "")]


@pytest.mark.slow
def test_no_more_images_an_hour_than_allowed_after_a_burst_of_a_quarter(make: Callable[..., Asker]) -> None:
    asker = make(per_hour=40.0)
    record(asker, *(f"x{n}" for n in range(90)))
    assert asker.for_s(1.0) == 10
    assert asker.for_s(3_599.0) in (29, 30)
    assert asker.for_s(3_600.0) in (29, 30, 31)
    assert asker.plant.queue.next_due(asker.clock.now()) is not None


def test_no_more_bytes_a_day_than_allowed(make: Callable[..., Asker]) -> None:
    asker = make(per_hour=1e6, bytes_per_day=400_000.0)
    noise = np.random.default_rng(1)
    for n in range(80):
        asker.plant.frame(f"x{n}", pixels=noise.integers(0, 256, (100, 100)).astype(np.uint8))
    asker.plant.commit()
    asker.for_s(86_400.0)
    sent = sum(map(len, asker.cloud.images()))
    assert 360_000 < sent <= 400_000
    assert len(asker.cloud.requests) < 80


def test_an_image_over_what_may_be_sent_at_once_does_not_hold_up_the_others(make: Callable[..., Asker]) -> None:
    asker = make(bytes_per_day=20_000.0)
    asker.plant.frame("large", pixels=np.random.default_rng(1).integers(0, 256, (100, 100)).astype(np.uint8))
    record(asker, "small")
    asker.for_s(60.0)
    assert asker.plant.rows("sample, state, gone") == [("large", "gone", "too_large"), ("small", "answered", "")]
    assert len(asker.cloud.requests) == 1


def test_a_station_that_restarts_over_and_over_keeps_to_its_budget(make: Callable[..., Asker]) -> None:
    asker = make(per_hour=40.0)
    record(asker, *(f"x{n}" for n in range(60)))
    for _ in range(20):
        asker.steps(3)
        asker.start()
    assert len(asker.cloud.requests) == 10
    asker.clock.forward(3_600.0)
    asker.start()
    asker.steps(20)
    assert len(asker.cloud.requests) == 20, "time that passed while it was off counts, up to the burst"


def test_a_wall_clock_set_back_to_1970_neither_fills_the_budget_nor_stops_the_asking(
    make: Callable[..., Asker],
) -> None:
    asker = make(per_hour=40.0)
    record(asker, *(f"x{n}" for n in range(60)))
    asker.steps(20)
    assert len(asker.cloud.requests) == 10
    asker.clock.wall = 100.0
    asker.start()
    assert asker.steps(1)[0] > 0 and len(asker.cloud.requests) == 10
    assert asker.for_s(3_600.0) in (29, 30)


@pytest.mark.slow
def test_a_cloud_in_trouble_is_asked_ever_less_and_no_frame_is_lost_to_it(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "x", "y")
    asker.cloud.status = 503
    asked = asker.for_s(6 * 3_600.0)
    assert 60 <= asked <= 90, "three, then a trial each time the circuit and the wait allow, five minutes at most"
    assert asker.plant.rows("state, tries") == [("waiting", 0), ("waiting", 0)]
    asker.cloud.status = 200
    asker.for_s(400.0)
    assert asker.plant.rows("state") == [("answered",), ("answered",)]


def test_retry_after_is_kept_to(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "x")
    asker.cloud.status, asker.cloud.headers = 429, {"Retry-After": "600"}
    assert asker.for_s(599.0) == 1
    asker.cloud.status = 200
    assert asker.for_s(10.0) == 1


def test_an_image_that_breaks_the_cloud_is_given_up_and_the_others_get_their_turn(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "poison")
    asker.cloud.status = 500
    asker.steps(1)
    asker.cloud.status = 200
    record(asker, "fine")
    assert asker.for_s(30.0) == 1
    assert asker.plant.rows("sample, state") == [("poison", "waiting"), ("fine", "answered")]
    asker.cloud.status = 500
    asker.for_s(86_400.0)
    ((state, gone, tries, detail),) = asker.plant.rows("state, gone, tries, detail")[:1]
    assert (state, gone, tries) == ("gone", "gave_up", 7) and "500" in str(detail)
    assert len(asker.cloud.requests) == 1 + 8


def test_a_refused_image_is_gone_with_the_reason_and_not_sent_again(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "x")
    asker.cloud.status, asker.cloud.body = 413, b'{"detail": "an image may have at most 16 MiB"}'
    assert asker.for_s(86_400.0) == 1
    ((gone, detail),) = asker.plant.rows("gone, detail")
    assert gone == "refused" and "at most 16 MiB" in str(detail)


def test_a_bundle_that_the_cloud_does_not_know_costs_one_image_an_hour(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, *(f"x{n}" for n in range(5)))
    asker.cloud.status = 404
    asker.for_s(60.0)
    record(asker, "later")
    asker.for_s(60.0)
    assert len(asker.cloud.requests) == 1
    assert set(asker.plant.rows("state, gone")) == {("gone", "no_bundle")}
    asker.clock.forward(3_600.0)
    asker.cloud.status = 200
    record(asker, "much later")
    asker.for_s(60.0)
    assert asker.plant.rows("state")[-1] == ("answered",)


def test_a_frame_of_a_bundle_that_is_not_known_here_any_more_is_not_sent(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "x", bundle="c" * 64)
    asker.for_s(60.0)
    assert asker.cloud.requests == []
    assert asker.plant.rows("gone") == [("no_bundle",)]


def test_an_image_that_was_given_up_for_room_is_not_waited_for(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "shed", "kept")
    (asker.plant.folder / "samples/shed.png").unlink()  # a full disk: the file goes, its row cannot
    asker.for_s(60.0)
    assert asker.plant.rows("sample, state, gone") == [("shed", "gone", "evicted"), ("kept", "answered", "")]


def test_while_the_line_needs_the_machine_nobody_asks(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "x")
    asker.line_is_pressed = True
    assert asker.for_s(3_600.0) == 0
    asker.line_is_pressed = False
    assert asker.for_s(60.0) == 1


def test_a_disk_that_refuses_sends_nothing_that_could_not_be_noted(make: Callable[..., Asker]) -> None:
    asker = make()
    record(asker, "x")
    asker.plant.worker_connection.execute("PRAGMA busy_timeout = 10")
    asker.plant.connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError):
        asker.loop.step()
    assert asker.cloud.requests == []
    asker.plant.connection.execute("ROLLBACK")
    asker.steps(1)
    assert asker.plant.rows("state") == [("answered",)]


def test_the_thread_goes_on_after_faults_and_stops_when_told(make: Callable[..., Asker]) -> None:
    asker = make(idle_s=0.01)
    record(asker, "x")
    real, asker.manifests = asker.manifests, {}
    calls = 0

    def manifest_of_bundle(digest: str) -> Manifest | None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ValueError("a fault of ours")
        return real.get(digest)

    asker.loop._manifest_of = manifest_of_bundle
    stop = threading.Event()
    thread = threading.Thread(target=asker.loop.run, args=(stop,), daemon=True)
    thread.start()
    until = time.monotonic() + 60.0
    while not asker.plant.rows("id") or asker.plant.rows("state") != [("answered",)]:
        assert time.monotonic() < until
        time.sleep(0.01)
    stop.set()
    thread.join(60.0)
    assert not thread.is_alive() and asker.loop.faults == 2
