"""Two devices with one boot hear the same acks: each believes those that name its own content, and nothing is lost or twice."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ports.link import Room
from contract.messages import Ack
from tests.agent.store.test_outbox_names import Device
from tests.fakes.cloud_dedupe import DedupingCloud


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    with ExitStack() as stack:
        yield _pair(tmp_path, stack)


def _pair(folder: Path, stack: ExitStack) -> tuple[Device, Device]:
    """Return a device and its clone, made while the outbox was empty; nothing on the clone's disk betrays it."""
    with closing(Device(folder / "first")):
        pass
    shutil.copytree(folder / "first", folder / "copy")
    first = stack.enter_context(closing(Device(folder / "first")))
    copy = stack.enter_context(closing(Device(folder / "copy", looks_like=folder / "first")))
    assert first.outbox.boot == copy.outbox.boot
    return first, copy


def _crc(device: Device, row: int = 0) -> int:
    return zlib.crc32(device.outbox.pending(9)[row].payload)


def test_an_ack_of_the_other_devices_row_deletes_nothing(pair: tuple[Device, Device]) -> None:
    first, copy = pair
    first.add(1, 1)
    copy.add(10, 1)
    for each in pair:
        each.delivery.next_rows(Room(20), 0.0)
    ack = Ack("s1", first.outbox.boot, ((1, 1),), 20, contents=(_crc(first),))
    assert copy.delivery.acknowledged(ack, 1.0).deleted == 0 and copy.delivery.outstanding == 1
    assert first.delivery.acknowledged(ack, 1.0).deleted == 1 and first.delivery.outstanding == 0
    assert (first.outbox.depth(), copy.outbox.depth()) == (0, 1)
    assert [row.seq for row in copy.delivery.next_rows(Room(20), 400.0)] == [1], "it is sent again"


def test_a_conflict_of_the_other_devices_row_renames_nothing(pair: tuple[Device, Device]) -> None:
    first, copy = pair
    first.add(1, 1)
    copy.add(10, 1)
    for each in pair:
        each.delivery.next_rows(Room(20), 0.0)
    boot = first.outbox.boot
    ack = Ack("s1", boot, ((1, 1),), 20, conflicts=((1, 1),), contents=(_crc(first), _crc(copy)))
    answered = first.delivery.acknowledged(ack, 1.0)
    assert (answered.deleted, answered.renamed, first.outbox.boot) == (1, 0, boot)
    answered = copy.delivery.acknowledged(ack, 1.0)
    assert (answered.deleted, answered.renamed) == (0, 1) and copy.outbox.boot != boot
    for late in (ack, ack):
        for each in pair:
            answered = each.delivery.acknowledged(late, 2.0)
            assert (answered.deleted, answered.renamed, answered.new_boot) == (0, 0, False)


@pytest.mark.parametrize(
    ("ranges", "contents"),
    [(((1, 2),), (7,)), (((1, 1),), (7, 8)), (((2, 1), (1, 1)), (7,)), (((10, 1), (1, 9)), (7,))],
)
def test_contents_that_do_not_fit_the_ranges_delete_nothing(
    pair: tuple[Device, Device], ranges: tuple[tuple[int, int], ...], contents: tuple[int, ...]
) -> None:
    device, _ = pair
    device.add(1, 1)
    device.delivery.next_rows(Room(20), 0.0)
    ack = Ack("s1", device.outbox.boot, ranges, 20, contents=contents)
    assert device.delivery.acknowledged(ack, 1.0).deleted == 0 and device.outbox.depth() == 1


def test_a_cloud_that_names_no_contents_is_believed_by_name(pair: tuple[Device, Device]) -> None:
    device, _ = pair
    device.add(1, 1)
    device.delivery.next_rows(Room(20), 0.0)
    assert device.delivery.acknowledged(Ack("s1", device.outbox.boot, ((1, 1),), 20), 1.0).deleted == 1


def test_a_row_older_than_the_checksums_is_acknowledged_by_name(pair: tuple[Device, Device]) -> None:
    device, _ = pair
    device.add(1, 1)
    device.connection.execute("UPDATE outbox SET crc = NULL")
    device.delivery.next_rows(Room(20), 0.0)
    ack = Ack("s1", device.outbox.boot, ((1, 1),), 20, contents=(7,))
    assert device.delivery.acknowledged(ack, 1.0).deleted == 1


_STEPS = st.tuples(
    st.sampled_from(["add", "add", "send", "send", "hear", "again", "lose"]), st.integers(0, 1), st.integers(1, 4)
)


@settings(max_examples=30, deadline=None)
@given(st.lists(_STEPS, max_size=40))
def test_clones_whose_acks_reach_either_late_twice_or_never_lose_nothing(steps: list[tuple[str, int, int]]) -> None:
    cloud = DedupingCloud()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        devices = _pair(Path(folder), stack)
        said: list[Ack] = []
        for number, (step, which, n) in enumerate(steps):
            device = devices[which]
            if step == "add":
                # No two windows say the same: the markers are bits.
                device.add(1 << number, number + 1)
            elif step == "send":
                device.now += 400.0
                said += cloud.takes(device.delivery.next_rows(Room(n), device.now))
            elif step == "lose":
                del said[-n:]
            else:
                # Acks for one device are heard by both, or by the other alone: the last to connect is who listens.
                for ack in said[-n:]:
                    device.delivery.acknowledged(ack, 1.0)
                    if step == "again":
                        device.delivery.acknowledged(ack, 1.0)
        for device in devices:
            device.delivery.reconnected()
            device.drain(cloud)
        for device in devices:
            for ack in said:
                device.delivery.acknowledged(ack, 1.0)
            assert device.outbox.depth() == 0
        assert cloud.captured == sum(device.produced for device in devices)
