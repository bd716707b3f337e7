"""P4: seven days offline lose nothing within the disk budget, and beyond it everything is accounted for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.ports.link import Room
from agent.store.database import transaction
from tests.agent.store.test_outbox_names import Device, summary
from tests.fakes.cloud_dedupe import DedupingCloud

_WINDOWS_A_DAY = 288  # five minutes each


@pytest.mark.parametrize("stations", [1, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.parametrize("max_bytes", [pytest.param(64 << 20, marks=pytest.mark.long), 200_000])
def test_seven_days_offline_are_all_told_of_and_drain_in_bounded_messages(
    tmp_path: Path, stations: int, max_bytes: int
) -> None:
    for station in range(stations):
        with ExitStack() as stack:
            made, cloud = Device(tmp_path / f"{station}", max_bytes=max_bytes), DedupingCloud(credit=500)
            stack.callback(made.close)
            produced = 7 * _WINDOWS_A_DAY
            for first in range(0, produced, 12):
                with transaction(made.connection):
                    for number in range(first, first + 12):
                        made.outbox.add(summary(number % 7, number * 5, camera=("", "left")[number % 2]), number)
            (held,) = made.connection.execute("SELECT SUM(bytes) FROM outbox").fetchone()
            assert held <= max_bytes
            sizes: list[int] = []
            for _ in range(produced):
                made.now += 1.0
                rows = made.delivery.next_rows(Room(20), made.now)
                sizes += [len(row.payload) for row in rows]
                for ack in cloud.takes(rows):
                    made.delivery.acknowledged(ack, made.now)
                if not made.outbox.depth():
                    break
            assert made.outbox.depth() == 0 and cloud.twice == 0 and max(sizes) < 64_000
            assert cloud.captured == sum(number % 7 for number in range(produced)) and cloud.windows() == produced
            whole = all(s.window is not None and not s.covers for s in cloud.committed.values())
            assert whole == (max_bytes > 1 << 20)
