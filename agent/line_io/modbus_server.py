"""pymodbus' server as a station needs it, with the registers of `modbus_map` behind it.

pymodbus reads and answers the protocol's frames. Around it: frames that arrive together are answered in their order (pymodbus 3.16
drops the second), connections are bounded, and a frame that is none ends its connection, as nothing after it can be trusted.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusIOException
from pymodbus.pdu import ExceptionResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.transaction import TransactionManager

from agent.line_io import modbus_map as m
from agent.line_io.modbus_handshake import Handshake
from agent.ports.log import Log

MAX_CONNECTIONS = 8
# MODBUS Messaging on TCP/IP Implementation Guide V1.0b: a header of 7 bytes, the last of which counts in its length field.
_HEADER = 6
_LONGEST = 254
_AHEAD = 32
_UNREAD = 64 << 10
_FUNCTIONS = frozenset((1, 2, 3, 4, 5, 6, 15, 16, 22, 23))
# The same guide: 0 and 0xFF mean the device at this address, as nothing is behind it.
_THIS_DEVICE = frozenset((0, 255))
_COILS, _DISCRETES, _INPUTS = frozenset((1, 5, 15)), 2, 4
_WRITES = frozenset((5, 6, 15, 16, 22, 23))
_WRITER_S = 10.0
_READABLE = 125


@dataclass(slots=True)
class Writer:
    """Who may write: the address that wrote first, "" for nobody yet. It outlives a server that dies of a fault of ours.

    `cut_off_s`: when the writer was heard of last (monotonic) by a server that died and took its connection away; None: none did.
    """

    host: str = ""
    cut_off_s: float | None = None


class Server(ModbusTcpServer):
    """pymodbus' server, with bounded connections, on a socket that is bound already."""

    def __init__(self, handshake: Handshake, unit: int, log: Log, listening: socket.socket, writer: Writer) -> None:
        super().__init__(_device(handshake, log), address=listening.getsockname()[:2])
        self.call_create = partial(self.loop.create_server, self.handle_new_connection, sock=listening)
        self.unit = unit
        self._handshake = handshake
        self._writer = writer

    def may_write(self, host: str) -> bool:
        """Return whether `host` is the one that may write: who wrote first, as long as it is connected and heard of.

        One that takes over from another starts anew: both may count alike. A writer that a fault of ours cut off may come back for
        as long as one that is connected may be silent.
        """
        writer = self._writer
        if host == writer.host:
            writer.cut_off_s = None
            return True
        # A connection that is being made has no host yet; neither has a writer that there never was.
        if writer.host:
            heard_s = max((each.heard_s for each in self._connections() if each.host == writer.host), default=None)
            heard_s = writer.cut_off_s if heard_s is None else heard_s
            if heard_s is not None and heard_s > self.loop.time() - _WRITER_S:
                return False
            self._handshake.change_hands()
        writer.host, writer.cut_off_s = host, None
        return True

    def cut_off(self) -> None:
        """Note that every connection ends by a fault of ours; to be called while they are still there."""
        heard_s = [each.heard_s for each in self._connections() if each.host and each.host == self._writer.host]
        self._writer.cut_off_s = max(heard_s, default=self._writer.cut_off_s)

    def _connections(self) -> list[_Connection]:
        return [each for each in self.active_connections.values() if isinstance(each, _Connection)]

    def callback_new_connection(self) -> ServerRequestHandler:
        """Take a connection. Of too many, the one that was quiet for longest gives way: a PLC that polls is never that one.

        Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, on the pool of connections.
        """
        connections = self._connections()
        if len(connections) >= MAX_CONNECTIONS:
            min(connections, key=lambda each: each.heard_s).let_go()
        return _Connection(self)


class _Connection(ServerRequestHandler):
    """One client. Its frames are taken apart here and answered one after the other."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, None, None, None)  # type: ignore[no-untyped-call]
        self._server = server
        self._received = b""
        self._frames: deque[bytes] = deque()
        self._answering: asyncio.Task[None] | None = None
        self.heard_s = server.loop.time()
        self.host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who it is."""
        self.host = str(transport.get_extra_info("peername", ("",))[0])
        super().connection_made(transport)

    def let_go(self) -> None:
        """End the connection now, whatever it has yet to read."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        self.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        self.heard_s = self.loop.time()
        self._received += data
        while len(self._received) >= _HEADER:
            length = int.from_bytes(self._received[4:_HEADER], "big")
            if any(self._received[2:4]) or not 2 <= length <= _LONGEST:
                self.let_go()
                return
            if len(self._received) < _HEADER + length:
                break
            self._frames.append(self._received[: _HEADER + length])
            self._received = self._received[_HEADER + length :]
        if len(self._frames) > _AHEAD and isinstance(self.transport, asyncio.Transport):
            self.transport.pause_reading()
        if self._frames and (self._answering is None or self._answering.done()):
            self._answering = self.loop.create_task(self._answer())

    async def _answer(self) -> None:
        while self._frames and self.is_active():
            frame = self._frames.popleft()
            refused = self._refusal(frame)
            if refused is None:
                try:
                    TransactionManager.callback_data(self, frame)
                except (ModbusIOException, ValueError):
                    refused = ExcCodes.ILLEGAL_VALUE
            if refused is not None:
                self._refuse(frame, refused)
            else:
                await self.handle_request()  # type: ignore[no-untyped-call]
            if self.is_active() and self._unread() > _UNREAD:
                self.let_go()  # it asks and does not read
            await asyncio.sleep(0)  # the others' turn
        if isinstance(self.transport, asyncio.Transport) and not self.transport.is_reading():
            self.transport.resume_reading()

    def _refusal(self, frame: bytes) -> ExcCodes | None:
        unit, function = frame[_HEADER], frame[_HEADER + 1]
        if self._server.unit and unit not in (self._server.unit, *_THIS_DEVICE):
            return ExcCodes.GATEWAY_NO_RESPONSE
        if function not in _FUNCTIONS:
            return ExcCodes.ILLEGAL_FUNCTION
        return ExcCodes.DEVICE_BUSY if function in _WRITES and not self._server.may_write(self.host) else None

    def _refuse(self, frame: bytes, why: ExcCodes) -> None:
        refusal = ExceptionResponse(
            frame[_HEADER + 1] & 0x7F,
            exception_code=why,
            device_id=frame[_HEADER],
            transaction=int.from_bytes(frame[:2], "big"),
        )
        self.server_send(refusal, None)  # type: ignore[no-untyped-call]

    def _unread(self) -> int:
        return int(self.transport.get_write_buffer_size()) if isinstance(self.transport, asyncio.WriteTransport) else 0


def _device(handshake: Handshake, log: Log) -> SimDevice:
    """Return pymodbus' picture of the registers: it checks the ranges, `handshake` has the values."""

    async def reached(
        function: int, start: int, address: int, count: int, registers: list[int], values: list[int] | list[bool] | None
    ) -> ExcCodes | None:
        try:
            if values is not None:
                return _write(handshake, function, address, values)
            _read(handshake, function, start, address, count, registers)
        except Exception as error:  # noqa: BLE001 - the PLC gets "device failure" and no verdict; the fault is said
            log.fault("modbus", f"a request of function {function} broke: {type(error).__name__}: {error}")
            return ExcCodes.DEVICE_FAILURE
        return None

    def only_read(address: int, count: int) -> SimData:
        return SimData(address, count=count, values=0, datatype=DataType.REGISTERS, readonly=True)

    bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    inputs = [only_read(0, m.INPUTS)]
    holdings = [
        SimData(0, count=m.HOLDINGS, values=0, datatype=DataType.REGISTERS),
        # Tools and some PLCs read round numbers of registers.
        only_read(m.HOLDINGS, _READABLE - m.HOLDINGS),
        only_read(m.MIRROR, m.INPUTS),
    ]
    return SimDevice(0, simdata=(bits, list(bits), holdings, inputs), action=reached)


def _write(handshake: Handshake, function: int, address: int, values: list[Any]) -> ExcCodes | None:
    if function in _COILS:
        if address + len(values) > len(m.Coil):
            return ExcCodes.ILLEGAL_ADDRESS
        handshake.write_coils(address, values)
    else:
        handshake.write(address, values)
    return None


def _read(handshake: Handshake, function: int, start: int, address: int, count: int, registers: list[int]) -> None:
    if function in _COILS:
        registers[0] = _packed(handshake.coils())
    elif function == _DISCRETES:
        registers[0] = _packed(handshake.discretes())
    elif function == _INPUTS:
        registers[address - start : address - start + count] = handshake.inputs(address, count)
    elif address >= m.MIRROR:
        registers[address - start : address - start + count] = handshake.inputs(address - m.MIRROR, count)
    else:
        registers[: m.HOLDINGS] = handshake.holding()


def _packed(bits: list[bool]) -> int:
    return sum(1 << at for at, on in enumerate(bits) if on)
