"""The station as an OPC UA server with the state machine of OPC 40100-1 (Machine Vision, Part 1).

Implemented: VisionStateMachine (Preoperational, Halted, Error, Operational) and its AutomaticModeStateMachine (Initialized, Ready,
SingleExecution, ContinuousExecution) with Halt, Reset, SelectModeAutomatic, StartSingleJob, StartContinuous, Stop and Abort; the
events StateChanged, JobStarted, Ready, ResultReady, Error and ErrorResolved; ResultManagement with GetResultById,
GetResultComponentsById, GetResultListFiltered and the newest result as a variable ("Latest").

Not implemented: recipes, products, configurations (so no RecipePreparedEvent and no prepare methods), safety state, step models,
simulation mode, conditions, result files and handles, LastTransition, AcquisitionDone (a station does not tell of it). It was
tested with asyncua's client, never with the OPC Foundation's compliance test tool, and is not certified.

A server that dies of a fault of the station's own is made anew within seconds. Sessions and subscriptions are gone, the job in
hand is lost, GetResult finds nothing of before; who halted or reset the machine finds it so still. A station that starts anew
goes to Ready.

A part passes only on a ResultReady event whose JobId is that of the job in hand and whose ResultContent begins with "PASS".
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotStarted
from pathlib import Path

from asyncua import ua
from asyncua.crypto.truststore import TrustStore

from agent.line_io.opcua_security import LineUsers, secure, trust_store
from agent.line_io.opcua_server import BoundServer
from agent.line_io.opcua_vision import Mode, Vision
from agent.ports.line import Answer, LineDesk, LineState
from agent.ports.log import Log
from contract.errors import InvalidConfig, TransientError

_WAITING = 256
_AGAIN_S = 2.0
_START_S, _STOP_S, _CLOSE_S, _LAST_WORDS_S = 60.0, 2.0, 1.4, 0.3


class OpcUaLine:
    """An `agent.ports.line.LineAdapter`; the server has one thread with an event loop of its own."""

    def __init__(
        self,
        desk: LineDesk,
        log: Log,
        *,
        station: str,
        host: str,
        port: int,
        trusted: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Without `cert_file` anybody may connect, unencrypted; with it only clients in the folder `trusted`, encrypted."""
        self._desk, self._log, self._station = desk, log, station
        self._host, self._port = host, port
        self._trusted, self._cert_file, self._key_file = trusted, cert_file, key_file
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._now = now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Queue[Answer | LineState | None] | None = None
        self._mode = Mode()
        self._stopping = threading.Event()
        self._started: Future[None] = Future()
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="plc-opcua", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            InvalidConfig: a certificate cannot be used.
            TransientError: the port is taken, or the address is not this machine's.
        """
        if self._cert_file is not None and self._trusted is None:
            raise InvalidConfig("plc.cert_file is for known clients only", hint="set plc.ca_file, a folder of theirs")
        if self._trusted is not None and self._cert_file is None:
            raise InvalidConfig("plc.ca_file is of no use without plc.cert_file and plc.key_file")
        try:
            # Before the address space is made, which takes seconds: a port that is taken is tried again and again.
            socket.create_server((self._host, self._port), family=self._family).close()
            self._thread.start()
            self._started.result(_START_S)
        except NotStarted as error:
            raise TransientError(f"the OPC UA server did not start within {_START_S:g} s") from error
        except OSError as error:
            raise TransientError(
                f"OPC UA cannot listen on {self._host}:{self._port}: {error.strerror or error}",
                hint="another program has the port, or plc.host is not an address of this machine",
            ) from error

    def show(self, answer: Answer) -> None:
        """Queue `answer`; see `agent.ports.line.LineAdapter`."""
        if not self._queue(answer):
            self._desk.unshown(answer)

    def beat(self, state: LineState) -> None:
        """Show `state`; see `agent.ports.line.LineAdapter`. The heartbeat itself is the server's own CurrentTime."""
        self._queue(state)

    def trouble(self) -> str:
        """Return why there is no server, "" if there is one."""
        return self._trouble

    def stop(self) -> None:
        """Go to Halted, and let go of the port; at most two seconds."""
        self._stopping.set()
        self._queue(None)
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def _queue(self, item: Answer | LineState | None) -> bool:
        loop, work = self._loop, self._work
        if loop is None or work is None or (work.qsize() >= _WAITING and item is not None):
            return False
        try:
            loop.call_soon_threadsafe(work.put_nowait, item)
        except RuntimeError:  # it is closed
            return False
        return True

    def _run(self) -> None:
        """Serve until `stop`; a server that dies of a fault of ours is made anew, and `trouble` says so meanwhile."""
        while not self._stopping.is_set():
            try:
                asyncio.run(self._serve())
            except BaseException as error:  # noqa: BLE001 - `start` raises it, or `trouble` says it
                if not self._started.done():
                    self._started.set_exception(error)
                    return
                self._trouble = f"the OPC UA server died: {type(error).__name__}: {error}"
                self._log.fault("plc", self._trouble)
            finally:
                self._loop, work = None, self._work
                while work is not None and not work.empty():
                    left = work.get_nowait()
                    if isinstance(left, Answer):
                        self._desk.unshown(left)
            self._stopping.wait(_AGAIN_S)

    async def _serve(self) -> None:
        # A stranger's nonsense is not to fill the journal; asyncua tells of each packet of it.
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        trusted = await trust_store(self._trusted) if self._trusted is not None else None
        server = BoundServer(LineUsers(trusted, self._now))
        await self._open(server, trusted)
        vision = Vision(server, self._desk, self._now, f"{self._station}-{int(self._now() * 1e3):x}", self._mode)
        await vision.open()
        await server.start()
        try:
            self._work, self._loop, self._trouble = asyncio.Queue(), asyncio.get_running_loop(), ""
            if not self._started.done():
                self._started.set_result(None)
            while not self._stopping.is_set() and (item := await self._work.get()) is not None:
                if isinstance(item, LineState):
                    await vision.is_now(item)
                else:
                    await self._show(vision, item)
            await asyncio.wait_for(vision.close("the station stops"), _CLOSE_S)
            if server.bserver.clients:
                await asyncio.sleep(_LAST_WORDS_S)  # subscriptions are served in turns
        except BaseException:
            vision.forsake()
            raise
        finally:
            try:
                await asyncio.wait_for(server.stop(), _CLOSE_S)
            except asyncio.TimeoutError:
                self._log.fault("plc", "the OPC UA server was slow to stop")

    async def _show(self, vision: Vision, answer: Answer) -> None:
        shown = False
        try:
            shown = await vision.answered(answer)
        finally:
            if not shown:
                self._desk.unshown(answer)

    async def _open(self, server: BoundServer, trusted: TrustStore | None) -> None:
        server.set_server_name(f"Plumbline {self._station}")
        server.product_uri, server.manufacturer_name = "urn:plumbline:station", "Plumbline"
        server.application_type = ua.ApplicationType.Server
        server.allow_remote_admin(False)
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        uri = f"urn:plumbline:{self._station}"
        if self._cert_file is not None and self._key_file is not None and trusted is not None:
            uri = await secure(server, self._cert_file, self._key_file, trusted)
        else:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await server.init()
        await server.set_application_uri(uri)
        host = f"[{self._host}]" if self._family is socket.AF_INET6 else self._host
        server.set_endpoint(f"opc.tcp://{host}:{self._port}/plumbline/")
