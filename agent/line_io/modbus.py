"""The line's controller over Modbus TCP: the station is the server. `modbus_map` says what the registers are."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading

from agent.line_io.modbus_handshake import Handshake
from agent.line_io.modbus_server import Server, Writer
from agent.ports.clock import Clock
from agent.ports.line import Answer, LineDesk, LineState
from agent.ports.log import Log
from contract.errors import InvalidConfig, TransientError

_MISSED = 3
_TICK_S = 0.05
_START_S = 5.0
_LINGER_S = 0.5
_JOIN_S = 1.0
_AGAIN_S = 1.0


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
        only_asked: bool = False,
    ) -> None:
        """`unit` 0: any. `port` 0: any that is free, see `port`. `only_asked`: see `Handshake`."""
        self._host, self.port = host, port
        self._unit = unit
        self._log = log
        self._clock = clock
        self._handshake = Handshake(desk, clock.monotonic, silence_s=_MISSED * heartbeat_s, only_asked=only_asked)
        self._writer = Writer()
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

    def beat(self, _state: LineState) -> None:
        """Show that the station lives; see `agent.ports.line.LineAdapter`."""
        self._handshake.beat()

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
            except BaseException as error:  # noqa: BLE001 - a dead server would leave the line without verdicts; it is said and tried again
                self._trouble = f"the Modbus server stopped: {error or type(error).__name__}"
                self._log.fault("modbus", self._trouble)
                self._socket = None
                self._stopping.wait(_AGAIN_S)

    async def _serve(self) -> None:
        listening = self._socket or _bound(self._host, self.port)
        server = Server(self._handshake, self._unit, self._log, listening, self._writer)
        await server.serve_forever(background=True)
        self._trouble = ""
        self._listening.set()
        try:
            while not self._stopping.is_set():
                self._handshake.tick()
                if not server.is_active():
                    raise ConnectionError("it listens no more")
                await asyncio.sleep(_TICK_S)
        except BaseException:
            server.cut_off()
            raise
        finally:
            self._listening.clear()
            await server.shutdown()  # type: ignore[no-untyped-call]


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
            hint="`install-agent install` once more lets the service have it; or set [plc] port to e.g. 1502",
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidConfig(
                f"{where}: {error.strerror}", hint="set [plc] host to an address of this machine"
            ) from error
        raise TransientError(f"{where}: {error.strerror}", hint="another program holds the port") from error
