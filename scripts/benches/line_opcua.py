"""The line bench's controller over OPC UA: asyncua's client, one job after the other, verdicts by event."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from asyncua import Client, ua

from agent.line_io.opcua_space import EVENTS, NAMESPACE
from contract.errors import DeadlinePassed
from scripts.benches.line_plc import Heard

_READY_WITHIN_S = 90.0
_CALL_S = 10.0
_CYCLE_S = 0.001
# How often the server looks for news for us; a controller in a hurry asks for what the server can.
_PUBLISH_MS = 5
_MEAS, _PART, _RECIPE, _PRODUCT = 3015, 3004, 3002, 3003
T = TypeVar("T")


class OpcUaPlc:
    """Starts a job for each part and waits for its ResultReady event. asyncua's client has a thread of its own here."""

    def __init__(self, port: int) -> None:
        self._address = f"opc.tcp://127.0.0.1:{port}/plumbline/"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client: Client | None = None
        self._heard: deque[Heard] = deque()
        self._asks: dict[str, int] = {}
        self._early: dict[str, Heard] = {}
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._kinds: dict[int, str] = {}

    def wait_ready(self) -> None:
        """Connect, subscribe, and wait for a state Ready."""
        end_s = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < end_s:
            with suppress(OSError, TimeoutError, ua.UaError):  # it starts
                if self._client is None:
                    self._do(self._connect())
                if self._do(self._state()) == "Ready":
                    self._ready.set()
                    return
            time.sleep(0.1)
        raise DeadlinePassed("the station takes no jobs over OPC UA")

    def trigger(self, ask: int, part: str) -> None:
        """Start a job; one that is not taken is heard at once."""
        self._ready.wait(_CALL_S)  # the machine takes one job at a time
        self._ready.clear()
        job, error = self._do(self._start(part))
        with self._lock:
            if error:
                self._heard.append(Heard(ask, "", f"error {error}", time.monotonic()))
                self._ready.set()
            elif job in self._early:
                self._heard.append(replace(self._early.pop(job), ask=ask))
            else:
                self._asks[job] = ask

    def hear(self, within_s: float) -> list[Heard]:
        """Return what came."""
        end_s = time.monotonic() + within_s
        while not self._heard and time.monotonic() < end_s:
            time.sleep(min(_CYCLE_S, max(0.0, end_s - time.monotonic())))
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        with suppress(OSError, TimeoutError, ua.UaError):  # the station went first
            if client is not None:
                self._do(client.disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def event_notification(self, event: Any) -> None:
        """Take an event; asyncua calls this."""
        at_s = time.monotonic()
        kind = self._kinds.get(event.EventType.Identifier, "")
        if kind == "ReadyEventType":
            self._ready.set()
        if kind != "ResultReadyEventType":
            return
        verdict, _, _, _, took_ms, _, lost = (each.Value for each in event.ResultContent)
        heard = Heard(0, "" if lost else str(verdict), str(lost), at_s, float(took_ms))
        with self._lock:
            ask = self._asks.pop(event.JobId.Id, None)
            if ask is None:
                self._early[event.JobId.Id] = heard
            else:
                self._heard.append(replace(heard, ask=ask))

    async def _connect(self) -> None:
        client = Client(self._address, timeout=_CALL_S)
        await client.connect()
        await client.load_data_type_definitions()
        ns = await client.get_namespace_index(NAMESPACE)
        self._kinds = {number: name for name, number in EVENTS.items()}
        system = await client.nodes.objects.get_child("1:VisionSystem")
        self._top = await system.get_child([f"{ns}:VisionStateMachine", "0:CurrentState"])
        path = [f"{ns}:VisionStateMachine", f"{ns}:AutomaticModeStateMachine"]
        self._machine = await system.get_child(path)
        self._inner = await self._machine.get_child("0:CurrentState")
        self._method = await self._machine.get_child(f"{ns}:StartSingleJob")
        self._types = [ua.get_type(ua.NodeId(number, ns)) for number in (_MEAS, _PART, _RECIPE, _PRODUCT)]
        subscription = await client.create_subscription(_PUBLISH_MS, self)
        wanted = [client.get_node(ua.NodeId(number, ns)) for number in EVENTS.values()]
        await subscription.subscribe_events(system, wanted, queuesize=1000)
        self._client = client

    async def _state(self) -> str:
        top = str((await self._top.read_value()).Text)
        return str((await self._inner.read_value()).Text) if top == "Operational" else top

    async def _start(self, part: str) -> tuple[str, int]:
        meas, part_id, recipe, product = self._types
        nothing = ua.Variant([], ua.VariantType.Variant, is_array=True)
        job, error = await self._machine.call_method(
            self._method.nodeid, meas(Id=""), part_id(Id=part), recipe(Id=""), product(Id=""), nothing
        )
        return str(job.Id), int(error)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)
