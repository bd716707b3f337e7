"""A whole station, as its own process, with the line's controller on OPC UA."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.agent.line_io.opcua_rig import Controller, until
from tests.agent.line_io.test_opcua_line import listens
from tests.fixtures_broker import Broker, free_port
from tests.station_process import Station


@pytest.mark.slow
def test_a_station_answers_every_job_and_ends_clean(tmp_path: Path, broker: Broker) -> None:
    port = free_port()
    station = Station(tmp_path, broker.port, extra=f'[plc]\nkind = "opcua"\nport = {port}\nheartbeat_s = 0.2\n')
    parts = [f"part-{n}" for n in range(40)]

    async def go() -> None:
        await until(lambda: listens(port))
        async with Controller(port) as plc:
            await plc.until_state("Ready")
            for part in parts:
                job, error = await plc.start(part)
                assert error == 0
                result = await plc.event("ResultReadyEventType", job=job)
                assert (result["PartId"].Id, result["ResultState"]) == (part, 1)
                assert result["ResultContent"][0].Value in ("PASS", "REJECT", "REVIEW")
                await plc.event("ReadyEventType", job=job)
        await until(lambda: station.rows() == len(parts))

    try:
        station.start()
        asyncio.run(go())
        assert {part for (part,) in station.query("SELECT part FROM results")} == set(parts)
        assert station.end(signal.SIGTERM) == 0
        assert not listens(port)
    finally:
        station.close()
