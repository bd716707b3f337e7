"""A broker that dies takes every connection with it, and all come back: spread out, and with everything they have."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

from agent.chores import Chores
from agent.clock import SystemClock
from agent.delivery import Delivery
from agent.mailboxes import Inbox, ReportBox
from agent.ports.policy import ImagesLeave
from agent.store.database import claim_boot, open_database
from agent.store.outbox import Outbox
from agent.store.samples import Samples
from agent.uplink.mqtt import MqttLink
from agent.uplink_loop import UplinkLoop, UplinkRules
from contract.errors import LinkDown
from contract.messages import StationState
from tests.chaos.mqtt_framer import Framer, Kind, connect
from tests.chaos.network.plant import Plant
from tests.chaos.waiting import wait_for
from tests.fakes.agent_line import DictMemory, ListLog

_FLEET = 200


class NoLink(MqttLink):
    """A link to a broker that is not there; nothing is asked of the network, which would take its time."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 1, "s1", lambda online: StationState("s1", "b", online, 0.0), SystemClock())

    def connect(self, within_s: float) -> None:
        raise LinkDown("nobody answers")


class Waits(threading.Event):
    """A stop event on which nobody really waits: it adds up how long the uplink would have, and stops it after `until_s`."""

    def __init__(self, until_s: float) -> None:
        super().__init__()
        self.at_s: list[float] = []
        self._now_s, self._until_s = 0.0, until_s
        self._uplink = threading.current_thread()

    def wait(self, timeout: float | None = None) -> bool:
        if threading.current_thread() is not self._uplink or timeout is None:
            return super().wait(timeout)
        self._now_s += timeout
        self.at_s.append(self._now_s)
        if self._now_s > self._until_s:
            self.set()
        return self.is_set()


def test_the_attempts_of_a_fleet_are_spread_out_by_the_uplinks_own_pauses(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "agent.sqlite")
    boot = claim_boot(connection, tmp_path / "agent.sqlite")
    attempts: list[list[float]] = []
    for number in range(_FLEET):
        log = ListLog()
        loop = UplinkLoop(
            NoLink(),
            Delivery(Outbox(connection, boot=boot), resend_after_s=5.0),
            Chores("s1", DictMemory(), Samples(connection, tmp_path), None, ImagesLeave.NEVER, {}, log),
            Inbox(),
            ReportBox(),
            SystemClock(),
            log,
            UplinkRules("s1"),
            roll=random.Random(number).random,
        )
        stop = Waits(until_s=600.0)
        loop.run(stop)
        attempts.append(stop.at_s)
    connection.close()
    # After the first minute each tries every 15 s on average and never more than 30 s apart.
    late = [at for of_one in attempts for at in of_one if at > 60.0]
    assert 0.7 * _FLEET * 540 / 15 < len(late) < 1.3 * _FLEET * 540 / 15
    assert all(b - a <= 30.0 for of_one in attempts for a, b in pairwise(of_one))
    # A broker that comes back at any moment meets a trickle: of 200 about 1.3 in 100 ms, never a tenth of them.
    busiest = max(Counter(int(at * 10) for at in late).values())
    assert busiest <= _FLEET * 0.06
    # Nor do they come in step at the beginning, when all lose the broker at once.
    first = Counter(int(of_one[1] * 10) for of_one in attempts)
    assert max(first.values()) <= _FLEET * 0.35


class Crowd:
    """Raw connections that come back all at once, each as soon as it can: worse than the product's own would."""

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self.greeted = Counter[int]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)

    async def _run(self) -> None:
        members = [asyncio.ensure_future(self._member(number)) for number in range(self._count)]
        while not self._stop.is_set():
            await asyncio.sleep(0.05)
        for each in members:
            each.cancel()
        await asyncio.gather(*members, return_exceptions=True)

    async def _member(self, number: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                await self._stay(number)
            await asyncio.sleep(0.05)

    async def _stay(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(connect(f"crowd-{number}", keepalive_s=0))
            framer = Framer()
            while data := await reader.read(1000):
                if any(packet.kind is Kind.CONNACK for packet in framer.feed(data)):
                    self.greeted[number] += 1
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def test_a_broker_that_dies_under_two_hundred_connections_loses_nothing(plant: Plant) -> None:
    plant.begin(stations=3)
    crowd = Crowd(plant.broker.port, _FLEET)
    try:
        for life in (1, 2):
            wait_for(lambda life=life: len(crowd.greeted) == _FLEET and min(crowd.greeted.values()) >= life)
            for station in plant.stations:
                station.produce(5)
            plant.broker.kill()
            for station in plant.stations:
                station.produce(5)
            plant.broker.start()
        wait_for(lambda: min(crowd.greeted.values()) >= 3)
        plant.settle()
    finally:
        crowd.close()
    assert all(station.uplink.faults == 0 for station in plant.stations)
