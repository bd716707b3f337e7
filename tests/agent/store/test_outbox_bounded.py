"""An outbox stays within its bytes though every row was sent and none acknowledged; what it counts arrives once all the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store.database import transaction
from contract.codec import decode_summary
from tests.agent.store.test_outbox_names import Device
from tests.fakes.cloud_dedupe import DedupingCloud

_MOST_BYTES = 60_000


@settings(max_examples=6, deadline=None)
@given(st.lists(st.booleans(), min_size=60, max_size=60), st.integers(0, 60))
def test_rows_that_were_sent_lose_their_sketches_last_and_are_counted_once(heard: list[bool], taken_from: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        device, cloud = Device(Path(folder), max_bytes=_MOST_BYTES), DedupingCloud()
        for number, by_cloud in enumerate(heard, 1):
            device.add(1, number, notes=20)
            if number >= taken_from:
                # The connection breaks after each: what was sent may have arrived, and no answer did.
                (newest,) = device.outbox.ids(1, newest=True)
                rows = device.outbox.take(1, after_id=newest - 1)
                if by_cloud:
                    cloud.takes(rows)
            (used,) = device.connection.execute("SELECT SUM(bytes) FROM outbox").fetchone()
            assert used <= _MOST_BYTES
        assert sum(device.outbox.take_merges().values()) > 0
        with transaction(device.connection):
            device.outbox.shrink(1 << 20)
        device.drain(cloud)
        assert cloud.captured == device.produced and device.outbox.depth() == 0
        device.close()


def test_a_row_renamed_twice_is_not_merged_into_an_older_number(tmp_path: Path) -> None:
    device = Device(tmp_path)
    for number in (1, 2):
        device.add(1, number)
    (first, _) = device.outbox.take(2)
    # Both names are somebody else's; the second answer comes when a younger row has a number under the new boot.
    device.outbox.rename(first.boot, [(2, 2)])
    for number in (3, 4):
        device.add(1, number)
    device.outbox.rename(first.boot, [(1, 1)])
    device.add(1, 5)
    with transaction(device.connection):
        device.outbox.shrink(1 << 20)
    rows = [decode_summary(row.payload) for row in device.outbox.pending(10)]
    assert sum(row.accounting.captured for row in rows) == device.produced and len(rows) < 5
    assert all(last < row.header.seq for row in rows for _, last in row.covers)
    device.close()
