"""Load for the fallback door, from a process of its own: closed loop, or as requests come by chance (open loop, Poisson).

usage: python -m scripts.benches.fallback_load < plan.json   prints one JSON object of `Heard`
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

_HEAD = 65_536
# A client that hears nothing for so many deadlines hangs up; until then what comes late is seen to come late.
_PATIENCE = 3.0


class Load(msgspec.Struct, frozen=True):
    """What to send: `rate` requests a second, 0: `clients` one after the other. `stations` are (name, token)."""

    host: str
    port: int
    bundle: str
    stations: list[tuple[str, str]]
    images: list[str]
    within_ms: int
    seconds: float
    rate: float = 0.0
    clients: int = 16
    seed: int = 1


class Heard(msgspec.Struct):
    """Milliseconds to each answer (200) and refusal (503), from when it should have been sent; the rest was neither."""

    answered_ms: list[float] = []
    refused_ms: list[float] = []
    other: dict[int, int] = {}
    silent: int = 0
    took_s: float = 0.0


class _Client:
    """One kept-alive connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, request: bytes) -> int:
        """Send a request and return the status of its answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._load.host, self._load.port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        if b"connection: close" in head.lower():
            self.hang_up()
        return int(head[9:12])

    def hang_up(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def send(load: Load) -> Heard:
    """Send the load and return what was heard."""
    requests = _requests(load)
    heard, dice = Heard(), random.Random(load.seed)
    began = time.monotonic()
    if load.rate == 0:
        await asyncio.gather(*(_one_after_other(load, requests[n :: load.clients], heard) for n in range(load.clients)))
    else:
        await _by_chance(load, requests, heard, dice)
    heard.took_s = time.monotonic() - began
    return heard


async def _one_after_other(load: Load, requests: Sequence[bytes], heard: Heard) -> None:
    client, until, number = _Client(load), time.monotonic() + load.seconds, 0
    while time.monotonic() < until:
        await _ask(client, requests[number % len(requests)], time.monotonic(), load, heard)
        number += 1
    client.hang_up()


async def _by_chance(load: Load, requests: Sequence[bytes], heard: Heard, dice: random.Random) -> None:
    idle: list[_Client] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        client = idle.pop() if idle else _Client(load)
        await _ask(client, dice.choice(requests), due, load, heard)
        idle.append(client)

    due = time.monotonic()
    until = due + load.seconds
    while due < until:
        await asyncio.sleep(max(due - time.monotonic(), 0.0))
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += dice.expovariate(load.rate)
    await asyncio.gather(*tasks)
    for client in idle:
        client.hang_up()


async def _ask(client: _Client, request: bytes, due: float, load: Load, heard: Heard) -> None:
    patience_s = max(_PATIENCE * load.within_ms / 1e3, 1.0)
    try:
        status = await asyncio.wait_for(client.post(request), patience_s)
    except (asyncio.TimeoutError, OSError, asyncio.IncompleteReadError):
        client.hang_up()
        heard.silent += 1
        return
    took_ms = (time.monotonic() - due) * 1e3
    if status == 200:
        heard.answered_ms.append(took_ms)
    elif status == 503:
        heard.refused_ms.append(took_ms)
    else:
        heard.other[status] = heard.other.get(status, 0) + 1


def _requests(load: Load) -> list[bytes]:
    images = [Path(file).read_bytes() for file in load.images]
    requests = []
    for number in range(max(len(load.stations), len(images), load.clients)):
        (station, token), image = load.stations[number % len(load.stations)], images[number % len(images)]
        head = (
            f"POST /v1/fallback/{station} HTTP/1.1\r\nHost: {load.host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: image/png\r\nContent-Length: {len(image)}\r\nX-Plumbline-Bundle: {load.bundle}\r\n"
            f"X-Plumbline-Within-Ms: {load.within_ms}\r\n\r\n"
        )
        requests.append(head.encode() + image)
    return requests


if __name__ == "__main__":
    gc.disable()
    told = asyncio.run(send(msgspec.json.decode(sys.stdin.buffer.read(), type=Load)))
    sys.stdout.buffer.write(msgspec.json.encode(told))
