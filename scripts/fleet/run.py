"""A run: connect, produce, an outage in the middle, drain; then compare what was sent with what the database holds."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from scripts.fleet.broker import OwnBroker, own_broker, parse_broker
from scripts.fleet.child import Child
from scripts.fleet.clocks import clocks_off_by
from scripts.fleet.connection import Connection
from scripts.fleet.databases import database, read_rows
from scripts.fleet.limits import raise_file_limit
from scripts.fleet.payloads import make_templates
from scripts.fleet.plan import Plan
from scripts.fleet.reconnect import Door, Reconnect
from scripts.fleet.report import Marks, Report, make_report
from scripts.fleet.station import Station
from scripts.fleet.tally import Tally
from scripts.fleet.watch import Peaks, Watch
from scripts.fleet.workers import duplicates_dropped, start_workers

# The stations of one group have the same frames behind them.
_GROUPS = 16
_DRAIN_PATIENCE_S = 150.0
"""Without a single acknowledgement for so long, what is kept will not come: longer than the longest wait for a resend."""
_CONNECT_PATIENCE_S = 60.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Fleet:
    """What the steps of a run share. All in one thread."""

    plan: Plan
    door: Door
    broker: OwnBroker | None
    stations: list[Station]
    tally: Tally
    marks: Marks
    say: Say


def simulate(plan: Plan, folder: Path, say: Say) -> Report:
    """Run `plan` with every file below `folder` and return what came of it.

    Raises:
        InvalidConfig: too few files may be open, or broker or database cannot be used.
        StepFailed: the broker or a worker ended by itself.
    """
    raise_file_limit(plan.stations)
    broker = None if plan.broker else own_broker(folder / "broker")
    prefix = f"sim-{secrets.token_hex(3)}-"
    workers: list[Child] = []
    try:
        with database(plan.database, folder) as url:
            try:
                if broker is None:
                    host, port = parse_broker(plan.broker)
                else:
                    broker.start()
                    host, port = broker.host, broker.port
                say(f"broker {host}:{port}, database {url.partition('?')[0]}, {plan.workers} worker(s)")
                workers = start_workers(plan.workers, url, host, port, folder)
                fleet, peaks = asyncio.run(_live(plan, Door(host, port), broker, workers, prefix, say))
                cpu_s = sum(worker.cpu_s() for worker in workers)
            finally:
                for worker in workers:
                    worker.stop(within_s=30.0)
            rows = read_rows(url, prefix)
        return make_report(fleet.stations, fleet.tally, fleet.marks, rows, peaks, cpu_s, duplicates_dropped(workers))
    finally:
        if broker is not None:
            broker.child.kill()


async def _live(
    plan: Plan, door: Door, broker: OwnBroker | None, workers: list[Child], prefix: str, say: Say
) -> tuple[Fleet, Peaks]:
    fleet = Fleet(plan, door, broker, [], Tally(), Marks(), say)
    fleet.stations = _make_stations(fleet, prefix)
    watch = Watch(
        fleet.tally,
        lambda: sum(station.waiting for station in fleet.stations),
        broker.child if broker is not None else None,
        workers,
        say,
    )
    watching = asyncio.create_task(watch.run())
    living = asyncio.create_task(_run(fleet))
    try:
        await asyncio.wait({watching, living}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        await living
    finally:
        for task in (watching, living):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        for station in fleet.stations:
            station.close()
        # A moment for the goodbyes to leave.
        await asyncio.sleep(0.2)
    return fleet, watch.peaks


def _make_stations(fleet: Fleet, prefix: str) -> list[Station]:
    plan = fleet.plan
    random = Random(plan.seed)
    templates = make_templates(min(_GROUPS, plan.stations), plan.seed)
    digits = len(str(plan.stations))
    stations = []
    for number in range(plan.stations):
        clocks = clocks_off_by(random.uniform(-plan.skew_s, plan.skew_s))
        own = Random(random.getrandbits(64))

        def dial(make: Callable[[], Connection], own: Random = own) -> Reconnect:
            return Reconnect(fleet.door, make, own)

        name, boot = f"{prefix}{number:0{digits}d}", f"{random.getrandbits(64):016x}"
        template = templates[number % len(templates)]
        stations.append(Station(name, boot, template, fleet.tally, clocks, dial, own))
    return stations


async def _run(fleet: Fleet) -> None:
    plan, marks = fleet.plan, fleet.marks
    await _connect(fleet)
    marks.started_s = time.monotonic()
    producing = asyncio.create_task(_produce(fleet, marks.started_s))
    try:
        if plan.outage is not None:
            await asyncio.sleep(plan.outage.at_s)
            await _outage(fleet, plan.outage.length_s)
        await producing
    finally:
        producing.cancel()
    marks.produced_s = time.monotonic()
    fleet.say("no more summaries are made; waiting for what is kept")
    await _drain(fleet)
    marks.drained_s = time.monotonic()


async def _connect(fleet: Fleet) -> None:
    """Connect all, paced; those that fail come by their own ways."""
    loop, pace_s = asyncio.get_running_loop(), 1.0 / fleet.plan.connect_per_s
    next_s = loop.time()
    for station in fleet.stations:
        station.start()
        next_s += pace_s
        if (wait_s := next_s - loop.time()) > 0.01:
            await asyncio.sleep(wait_s)
    most, since_s = 0, loop.time()
    while fleet.tally.connected < len(fleet.stations) and loop.time() - since_s < _CONNECT_PATIENCE_S:
        if fleet.tally.connected > most:
            most, since_s = fleet.tally.connected, loop.time()
        await asyncio.sleep(0.05)
    fleet.say(f"{fleet.tally.connected:,} of {len(fleet.stations):,} stations are connected")
    until_s = loop.time() + _CONNECT_PATIENCE_S
    while not any(station.heard for station in fleet.stations):
        if loop.time() > until_s:
            fleet.say("no worker is subscribed; going on without")
            return
        await asyncio.sleep(0.05)


async def _produce(fleet: Fleet, begun_s: float) -> None:
    """Let every station make its summaries, spread evenly over each period."""
    period_s, ends_s = 60.0 / fleet.plan.rate, begun_s + fleet.plan.minutes * 60.0
    gap_s = period_s / len(fleet.stations)
    made = 0
    while (due_s := begun_s + made * gap_s) < ends_s:
        now_s = time.monotonic()
        if due_s > now_s:
            await asyncio.sleep(min(max(due_s - now_s, 0.002), 0.5))
            continue
        fleet.stations[made % len(fleet.stations)].produce()
        made += 1
        if made % 50 == 0:
            await asyncio.sleep(0)


async def _outage(fleet: Fleet, length_s: float) -> None:
    fleet.marks.outage_s = time.monotonic()
    if fleet.broker is not None:
        fleet.say(f"the broker is killed (-9); back in {length_s:g} s")
        fleet.broker.child.kill()
    else:
        fleet.say(f"every connection is cut; the network is back in {length_s:g} s")
        fleet.door.shut = True
        for station in fleet.stations:
            station.cut()
    await asyncio.sleep(length_s)
    if fleet.broker is not None:
        await asyncio.to_thread(fleet.broker.start)
    fleet.door.shut = False
    fleet.marks.back_s = time.monotonic()
    fleet.say("the broker is back")


async def _drain(fleet: Fleet) -> None:
    acked, since_s = -1, time.monotonic()
    while any(station.waiting for station in fleet.stations):
        if fleet.tally.acked != acked:
            acked, since_s = fleet.tally.acked, time.monotonic()
        if time.monotonic() - since_s > _DRAIN_PATIENCE_S:
            return
        await asyncio.sleep(0.1)
