"""Dead letters as the command sees them, on both engines."""

from __future__ import annotations

import pytest

from cloud.ports.batch import Batch
from cloud.store.dead_letters import DeadLetters
from contract.errors import NotFound
from tests.fakes.cloud_tables import T0, Tables


@pytest.fixture
def letters(tables: Tables) -> DeadLetters:
    dead = [("a/topic", f"reason {number}", bytes((number,)) * number) for number in range(1, 6)]
    tables.batches.commit(Batch(dead=dead), T0)
    return DeadLetters(tables.database)


def test_they_are_found_newest_first_and_whole(letters: DeadLetters) -> None:
    assert [(each.reason, each.size, each.received_at) for each in letters.newest(2)] == [
        ("reason 5", 5, T0), ("reason 4", 4, T0),
    ]  # fmt: skip
    assert letters.count() == 5
    first = letters.ids()[0]
    message = letters.get(first)
    assert (message.entry.topic, message.entry.reason, message.payload) == ("a/topic", "reason 1", b"\x01")


def test_what_is_removed_is_gone_and_only_that(letters: DeadLetters) -> None:
    ids = letters.ids()
    assert letters.remove([ids[0], ids[3], 10**6]) == 2 and letters.remove([]) == 0
    assert letters.ids() == [ids[1], ids[2], ids[4]]
    with pytest.raises(NotFound, match=f"no dead letter {ids[0]}"):
        letters.get(ids[0])


def test_a_payload_is_kept_whole_up_to_its_bound(tables: Tables) -> None:
    tables.batches.commit(Batch(dead=[("t", "r", b"x" * size) for size in (262_144, 300_000)]), T0)
    assert [each.size for each in DeadLetters(tables.database).newest(5)] == [262_144, 262_144]


def test_a_letter_is_stored_whatever_characters_its_topic_and_reason_have(tables: Tables) -> None:
    tables.batches.commit(Batch(dead=[("a\0b", "half a pair \ud800, half a \0", b"\0")]), T0)
    (letter,) = DeadLetters(tables.database).newest(5)
    assert (letter.topic, letter.reason) == ("a\\x00b", "half a pair \\ud800, half a \\x00")
