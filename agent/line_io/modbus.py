"""The line's controller over Modbus TCP: the station is the server. `modbus_map` says what the registers are.

pymodbus reads and answers the protocol's frames. Around it: frames that arrive together are answered in their order (pymodbus 3.16
drops the second), connections are bounded, and a frame that is none ends its connection, as nothing after it can be trusted.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections import deque
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
from agent.ports.clock import Clock
from agent.ports.line import Answer, LineDesk, LineState
from agent.ports.log import Log
from contract.errors import InvalidConfig, TransientError

MAX_CONNECTIONS = 8
_MISSED = 3
_TICK_S = 0.05
_START_S = 5.0
_LINGER_S = 0.5
_JOIN_S = 1.0
_AGAIN_S = 1.0
# MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3: a header of 7 bytes, the last of which counts in its length field.
_HEADER = 6
_LONGEST = 254
_AHEAD = 32
_UNREAD = 64 << 10
_FUNCTIONS = frozenset((1, 2, 3, 4, 5, 6, 15, 16, 22, 23))
# The same guide, 3.1.3.2: 0 and 0xFF mean the device at this address, as nothing is behind it.
_THIS_DEVICE = frozenset((0, 255))
_COILS, _DISCRETES, _INPUTS = frozenset((1, 5, 15)), 2, 4
_WRITES = frozenset((5, 6, 15, 16, 22, 23))
_WRITER_S = 10.0
_READABLE = 125


class ModbusLine:
    """An `agent.ports.line.LineAdapter`. Threads: the server's own; everything else is a call."""

    def __init__(
        self,
        desk: LineDesk,
        log: Log,
        clock: Clock,
        *,
        host: str,
        port: int,
        unit: int = 1,
        heartbeat_s: float = 1.0,
    ) -> None:
        """`unit` 0: any. `port` 0: any that is free, see `port`."""
        self._host, self.port = host, port
        self._unit = unit
        self._log = log
        self._clock = clock
        self._handshake = Handshake(desk, clock.monotonic, silence_s=_MISSED * heartbeat_s)
        self._thread = threading.Thread(target=self._run, name="modbus", daemon=True)
        self._listening = threading.Event()
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._trouble = ""

    def start(self) -> None:
        """Listen; see `agent.ports.line.LineAdapter`."""
        # What a stranger sends is no news for the station's journal.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._socket = _bound(self._host, self.port)
        self.port = int(self._socket.getsockname()[1])
        self._thread.start()
        if not self._listening.wait(_START_S):
            raise TransientError(f"Modbus on {self._host}:{self.port}: {self._trouble or 'not listening yet'}")

    def show(self, answer: Answer) -> None:
        """Give an answer to the controller."""
        self._handshake.show(answer)

    def beat(self, state: LineState) -> None:
        """Show that the station lives."""
        self._handshake.beat(state)

    def trouble(self) -> str:
        """Return what is wrong, "" if nothing."""
        return self._trouble

    def stop(self) -> None:
        """Show that the station is away, give the controller a moment to see what it was told last, and let go."""
        until_s = self._clock.monotonic() + _LINGER_S
        while self._handshake.stop() and self._listening.is_set() and self._clock.monotonic() < until_s:
            self._stopping.wait(_TICK_S)
        self._handshake.close()
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        elif self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._serve())
            except Exception as error:  # noqa: BLE001 - a dead server would leave the line without verdicts; it is said and tried again
                self._trouble = f"the Modbus server stopped: {error or type(error).__name__}"
                self._log.fault("modbus", self._trouble)
                self._socket = None
                self._stopping.wait(_AGAIN_S)

    async def _serve(self) -> None:
        listening = self._socket or _bound(self._host, self.port)
        server = _Server(self._handshake, self._unit, self._log, listening)
        await server.serve_forever(background=True)
        self._trouble = ""
        self._listening.set()
        try:
            while not self._stopping.is_set():
                self._handshake.tick()
                if not server.is_active():
                    raise ConnectionError("it listens no more")
                await asyncio.sleep(_TICK_S)
        finally:
            self._listening.clear()
            await server.shutdown()  # type: ignore[no-untyped-call]


class _Server(ModbusTcpServer):
    """pymodbus' server, with bounded connections, on a socket that is bound already."""

    def __init__(self, handshake: Handshake, unit: int, log: Log, listening: socket.socket) -> None:
        super().__init__(_device(handshake, log), address=listening.getsockname()[:2])
        self.call_create = partial(self.loop.create_server, self.handle_new_connection, sock=listening)
        self.unit = unit
        self._writer = ""

    def may_write(self, host: str) -> bool:
        """Return whether `host` is the one that may write: who wrote first, as long as it is connected and heard of."""
        if host != self._writer:
            since_s = self.loop.time() - _WRITER_S
            if any(each.host == self._writer and each.heard_s > since_s for each in self._connections()):
                return False
            self._writer = host
        return True

    def _connections(self) -> list[_Connection]:
        return [each for each in self.active_connections.values() if isinstance(each, _Connection)]

    def callback_new_connection(self) -> ServerRequestHandler:
        """Take a connection. Of too many, the one that was quiet for longest gives way: a PLC that polls is never that one.

        Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 4.3.2.
        """
        connections = self._connections()
        if len(connections) >= MAX_CONNECTIONS:
            min(connections, key=lambda each: each.heard_s).close()
        return _Connection(self)


class _Connection(ServerRequestHandler):
    """One client. Its frames are taken apart here and answered one after the other."""

    def __init__(self, server: _Server) -> None:
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

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        self.heard_s = self.loop.time()
        self._received += data
        while len(self._received) >= _HEADER:
            length = int.from_bytes(self._received[4:_HEADER], "big")
            if any(self._received[2:4]) or not 2 <= length <= _LONGEST or len(self._frames) >= _AHEAD:
                self.close()
                return
            if len(self._received) < _HEADER + length:
                break
            self._frames.append(self._received[: _HEADER + length])
            self._received = self._received[_HEADER + length :]
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
                self.close()  # it asks and does not read

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


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that holds the port.

    Raises:
        InvalidConfig: `host` is no address of this machine's, or the port is not for this user.
        TransientError: another program holds the port.
    """
    where = f"Modbus on {host}:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except socket.gaierror as error:
        raise InvalidConfig(
            f"{where}: {error.strerror}", hint="set [plc] host to an address of this machine"
        ) from error
    except PermissionError as error:
        raise InvalidConfig(
            f"{where}: a port below 1024 needs CAP_NET_BIND_SERVICE",
            hint="set [plc] port to e.g. 1502, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit",
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidConfig(
                f"{where}: {error.strerror}", hint="set [plc] host to an address of this machine"
            ) from error
        raise TransientError(f"{where}: {error.strerror}", hint="another program holds the port") from error
