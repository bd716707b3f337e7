"""A TCP proxy that does to a connection what networks do, switched while it runs. It understands MQTT packets, not topics' meaning.

One thread with an event loop of its own; `with FaultProxy(port) as proxy:` ends it. Each way through it (`up`: to the server,
`down`: from it) has a condition for bytes (flow, hold, throttle, delay) and a list of faults for packets. TCP neither loses nor
reorders bytes: what is held comes through later, unless the connection is broken meanwhile; a dropped, doubled or reordered
*packet* is what a broken broker or client would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from tests.chaos.faults import Do, Way
from tests.chaos.mqtt_framer import Framer, Packet

_WAITING = 256


class _Broken(Exception):
    """The connection ends here; `tail` still goes out."""

    def __init__(self, tail: bytes, *, by_reset: bool) -> None:
        super().__init__()
        self.tail = tail
        self.by_reset = by_reset


class _Pipe:
    """One direction of one connection: what was read waits here until it may go."""

    def __init__(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._way, self._reader, self._writer = way, reader, writer
        self._framer: Framer | None = Framer()
        self._waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
        self._swapped: dict[int, bytes] = {}

    async def run(self) -> None:
        """Return when the source has closed and everything has gone. Raises _Broken, OSError."""
        reading = asyncio.ensure_future(self._read())
        try:
            await self._write()
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read(self) -> None:
        while True:
            try:
                data = await self._reader.read(65536)
            except OSError:
                data = b""
            await self._waiting.put((time.monotonic(), data))
            if not data:
                return

    async def _write(self) -> None:
        while True:
            came_at, data = await self._waiting.get()
            while (left := came_at + self._way._delay_s - time.monotonic()) > 0:
                await asyncio.sleep(min(left, 0.05))
            if not data:
                await self._gate()
                return
            for piece in self._pieces(data):
                await self._send(piece)

    def _pieces(self, data: bytes) -> list[bytes | _Broken]:
        if self._framer is None:
            return [data]
        pieces: list[bytes | _Broken] = []
        for packet in self._framer.feed(data):
            pieces += self._suffer(packet)
        if not self._framer.is_mqtt:
            pieces.append(self._framer.held)
            self._framer = None
        return pieces

    def _suffer(self, packet: Packet) -> list[bytes | _Broken]:
        for watcher in self._way._watchers:
            watcher(packet)
        for fault in self._way._faults:
            if not fault.is_about(packet):
                continue
            if fault.do is Do.DROP:
                return []
            if fault.do is Do.CUT:
                return [_Broken(packet.raw[: fault.at_byte], by_reset=False)]
            if fault.do is Do.RESET:
                return [_Broken(b"", by_reset=True)]
            self._way.passed[packet.kind] += 1
            if fault.do is Do.DOUBLE:
                return [packet.raw, packet.raw]
            earlier = self._swapped.pop(id(fault), None)
            if earlier is not None:
                return [packet.raw, earlier]
            self._swapped[id(fault)] = packet.raw
            return []
        self._way.passed[packet.kind] += 1
        return [packet.raw]

    async def _send(self, piece: bytes | _Broken) -> None:
        data = piece.tail if isinstance(piece, _Broken) else piece
        while data:
            await self._gate()
            slow = self._way._octets_per_s
            part, data = (data[:1], data[1:]) if slow else (data, b"")
            self._writer.write(part)
            await self._writer.drain()
            self._way.octets += len(part)
            until = time.monotonic() + (1.0 / slow if slow else 0.0)
            while self._way._octets_per_s and time.monotonic() < until:
                await asyncio.sleep(min(0.02, 1.0 / slow))
        if isinstance(piece, _Broken):
            raise piece

    async def _gate(self) -> None:
        while self._way._held:
            await asyncio.sleep(0.01)


class FaultProxy:
    """Listens on `port` of loopback and connects each comer to `target_port` there."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.up, self.down = Way(), Way()
        self.accepted = 0
        """Connections taken so far."""
        self._tasks: set[asyncio.Task[None]] = set()
        # Closed, and perhaps not rid of their last bytes: the other end may never read them.
        self._closing: set[asyncio.StreamWriter] = set()
        self._listening: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._thread.start()
        self.port = self._listening.result(60)

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def open_connections(self) -> int:
        """Connections that are not over yet."""
        return len(self._tasks)

    def half_open(self) -> None:
        """Be silent both ways, to who is connected and to who connects from now on; every socket stays open."""
        self.up.hold()
        self.down.hold()

    def heal(self) -> None:
        """Let everything through again and forget every fault."""
        for way in (self.up, self.down):
            way.clear()
            way.flow()

    def break_all(self) -> None:
        """Break every connection there is by RST; what is held is lost."""
        self._call(self._break_all)

    def close(self) -> None:
        """Break every connection and end."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(60)

    def _call(self, what: Callable[[], Any]) -> None:
        done: Future[None] = Future()

        def call() -> None:
            what()
            done.set_result(None)

        self._loop.call_soon_threadsafe(call)
        done.result(60)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self._listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        self._break_all()
        while self._tasks:
            await asyncio.wait(list(self._tasks))
            await asyncio.sleep(0)
        for each in self._closing:
            each.transport.abort()
        await asyncio.sleep(0.01)  # transports that were aborted close their sockets in the next rounds

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio would keep the task to itself, and this ends what it began.
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)

        def over(done: asyncio.Task[None]) -> None:
            if not writer.is_closing():  # cancelled before it began, and so without its `finally`
                self._end(writer, by_reset=True)
            self._tasks.discard(done)

        task.add_done_callback(over)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        by_reset = False
        pipes: list[asyncio.Future[None]] = []
        try:
            while self.up._held:  # a partition lets no connection through either; the comer's kernel thinks it has one
                await asyncio.sleep(0.01)
                if reader._eof:  # type: ignore[attr-defined]  # it gave up: no late CONNECT of it may reach the server
                    return
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target_port)
            ends.append(far)
            pipes = [
                asyncio.ensure_future(_Pipe(self.up, reader, far).run()),
                asyncio.ensure_future(_Pipe(self.down, far_reader, writer).run()),
            ]
            done, _ = await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.drain()
        except _Broken as broken:
            by_reset = broken.by_reset
        except OSError:
            pass  # one of the two ends is gone
        except asyncio.CancelledError:
            by_reset = True
        finally:
            for each in pipes:
                each.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)
            for end in ends:
                self._end(end, by_reset)

    def _break_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def _end(self, writer: asyncio.StreamWriter, by_reset: bool) -> None:
        if by_reset:
            with contextlib.suppress(OSError):
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
            self._closing = {each for each in self._closing if each.transport.get_write_buffer_size()} | {writer}
