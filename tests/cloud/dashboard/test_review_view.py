"""One inspector at the review page, without a page: claims that run out, labels that come late, pixels that are lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud.dashboard.review_view import AHEAD, ReviewDesk
from cloud.registry.blobs import Blobs
from cloud.review.label_choice import LabelChoice
from cloud.store.review_claims import LEASE_S, ReviewClaims
from cloud.store.samples import Samples
from contract.errors import TransientError
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, received, summary


@dataclass
class Room:
    """A store with parts that wait, and desks before it."""

    tables: Tables
    samples: Samples
    blobs: Blobs
    clock: HandClock

    def desk(self, who: str) -> ReviewDesk:
        return ReviewDesk(
            labeller=who, samples=self.samples, claims=ReviewClaims(self.tables.database), images=self.blobs,
            choice=lambda: LabelChoice(("good", "dent"), frozenset({"good"})), now=self.clock.now,
        )  # fmt: skip

    def keep(self, count: int, lost: bool = False) -> list[str]:
        names = [f"{'gone' if lost else 'x'}{n:02d}" for n in range(count)]
        notes = tuple(note(name, at=T0 + n) for n, name in enumerate(names))
        self.tables.summaries.commit(received(summary("s1", 2 if lost else 1, samples=notes)), [])
        self.samples.mark_requested(names, None, T0 - lost)
        for name in names:
            self.samples.mark_received(name, "s1", "0" * 64 if lost else self.blobs.put(name.encode()), T0)
        return names


@pytest.fixture
def room(tmp_path: Path) -> Room:
    tables = open_tables(tmp_path / "cloud.db")
    return Room(tables, Samples(tables.database, 0.0), Blobs(tmp_path / "blobs"), HandClock())


def test_each_has_a_part_of_their_own_and_the_browser_knows_what_comes(room: Room) -> None:
    names = room.keep(10)
    ann, bob = room.desk("ann"), room.desk("bob")
    first, second = ann.next(), bob.next()
    assert first is not None and second is not None
    assert (first.sample, second.sample, first.beside) == (names[0], names[1], "")
    assert ann.ahead == names[1 : 1 + AHEAD]
    assert not set(first.__slots__) & {"label", "confidence", "verdict", "truth"}, (
        "what the model said is not there to be sent"
    )


def test_a_claim_that_ran_out_is_told_and_the_late_label_counts_beside_the_other(room: Room) -> None:
    (name,) = room.keep(1)
    ann, bob = room.desk("ann"), room.desk("bob")
    ann.next()
    assert ann.renew() == ""
    room.clock.forward(LEASE_S + 1)  # ann's line was broken for a minute
    shown = bob.next()
    assert shown is not None and shown.beside == "", "it was nobody's"
    assert "bob looks at this part, too, by now" in ann.renew() and ann.renew() == ""
    assert bob.label(name, "good").words == ""
    said = ann.label(name, "good")
    assert said.done and said.words == "bob labelled this part meanwhile: yours counts as a second look."
    assert [act.labeller for act in room.samples.labels.of(name)] == ["bob", "ann"]
    assert room.samples.get(name).truth == "good"


def test_only_what_was_seen_is_labelled_and_an_unknown_label_is_refused(room: Room) -> None:
    names = room.keep(3)
    desk = room.desk("ann")
    desk.next()
    assert not desk.label(names[1], "good").done and not desk.skip(names[2]).done
    refused = desk.label(names[0], "rust")
    assert not refused.done and "'rust' is no label of the running model" in refused.words
    assert desk.current is not None and desk.label(names[0], "dent").done
    assert not desk.label(names[0], "good").done, "a key pressed twice"
    assert [room.samples.get(name).truth for name in names] == ["dent", None, None]


def test_more_lost_pixels_than_one_look_shows_do_not_stop_the_queue(room: Room) -> None:
    room.keep(150, lost=True)
    (name,) = room.keep(1)
    desk = room.desk("ann")
    shown = desk.next()
    assert shown is not None and shown.sample == name
    progress = desk.progress(0.0)
    assert (progress.left, progress.lost) == (1, 150)


def test_a_store_that_is_away_for_a_moment_loses_no_part(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    names = room.keep(2)
    desk = room.desk("ann")

    def away(_digest: str) -> Path:
        raise TransientError("the object store is away")

    monkeypatch.setattr(room.blobs, "path", away)
    with pytest.raises(TransientError):
        desk.next()
    monkeypatch.undo()
    found = [desk.next()]
    desk.skip(names[0] if found[0] and found[0].sample == names[0] else names[1])
    found.append(desk.next())
    assert {each.sample for each in found if each} == set(names)


def test_undo_goes_back_label_by_label_also_from_a_page_opened_anew(room: Room) -> None:
    names = room.keep(3)
    desk = room.desk("ann")
    for name in names:
        desk.next()
        room.clock.forward(1.0)
        assert desk.label(name, "good").done
    anew: Callable[[], ReviewDesk] = lambda: room.desk("ann")  # noqa: E731
    assert [anew().undo().sample for _ in range(3)] == names[::-1]
    assert not anew().undo().done and room.desk("bob").undo().words == "There is no label of yours to take back."
    room.clock.forward(2 * 86_400.0)
    desk.next()
    assert desk.progress(room.clock.now() - 100.0).done == 0
