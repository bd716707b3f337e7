"""A controller that speaks OPC UA, for tests: asyncua's client, its events kept as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncua import Client, Node, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from agent.line_io.opcua import OpcUaLine
from agent.line_io.opcua_names import EVENTS, NAMESPACE
from tests.agent.line_io.line_certs import Pair
from tests.agent.line_io.line_rig import Line

PATIENCE_S = 60.0


def line_on(port: int, *, more: dict[str, Any] | None = None, **rules: Any) -> Line:
    """Return a line with an OPC UA server, not yet started."""
    return Line(
        lambda desk, log: OpcUaLine(desk, log, station="press-3", host="127.0.0.1", port=port, **(more or {})), **rules
    )


class Controller:
    """Use as `async with`. `events` has (kind, fields) as they arrive at the vision system's object."""

    def __init__(self, port: int, *, secure: tuple[Pair, Path, str] | None = None) -> None:
        """`secure`: the client's pair, the server's certificate, the client's application URI."""
        # Its watchdog, too, would give a server up that was not run for a second.
        self.client = Client(f"opc.tcp://127.0.0.1:{port}/plumbline/", timeout=60, watchdog_intervall=60.0)
        self._secure = secure
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ns = 0

    async def __aenter__(self) -> Controller:
        if self._secure is not None:
            own, server, uri = self._secure
            self.client.application_uri = uri
            await self.client.set_security(
                SecurityPolicyBasic256Sha256, str(own.cert), str(own.key), server_certificate=str(server)
            )
        await self.client.connect()
        await self.client.load_data_type_definitions()
        self.ns = await self.client.get_namespace_index(NAMESPACE)
        system = await self.node()
        subscription = await self.client.create_subscription(20, self)
        await subscription.subscribe_events(
            system, [self.client.get_node(ua.NodeId(number, self.ns)) for number in EVENTS.values()], queuesize=1000
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.disconnect()

    def event_notification(self, event: Any) -> None:
        names = {ua.NodeId(number, self.ns): name for name, number in EVENTS.items()}
        self.events.append((names[event.EventType], event.get_event_props_as_fields_dict()))

    async def node(self, *path: str) -> Node:
        return await self.client.nodes.objects.get_child(["1:VisionSystem", *(f"{self.ns}:{name}" for name in path)])

    async def state(self) -> str:
        top = await (await self.node("VisionStateMachine")).get_child("0:CurrentState")
        name = str((await top.read_value()).Text)
        if name != "Operational":
            return name
        auto = await (await self.node("VisionStateMachine", "AutomaticModeStateMachine")).get_child("0:CurrentState")
        return str((await auto.read_value()).Text)

    async def until_state(self, name: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while (found := await self.state()) != name:
            assert time.monotonic() < end_s, f"it is {found}"
            await asyncio.sleep(0.02)

    async def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the state machines or of the results, by its BrowseName."""
        path = ["VisionStateMachine"]
        if name in ("StartSingleJob", "StartContinuous", "Stop", "Abort"):
            path.append("AutomaticModeStateMachine")
        elif name.startswith("GetResult"):
            path = ["ResultManagement"]
        owner = await self.node(*path)
        return await owner.call_method(f"{self.ns}:{name}", *arguments)

    async def start(
        self, part: str = "", *, meas: str = "", recipe: str = "", method: str = "StartSingleJob"
    ) -> tuple[str, int]:
        """Start a job; return its id and `error`."""
        kinds = {name: ua.get_type(ua.NodeId(number, self.ns)) for name, number in IDS.items()}
        job, error = await self.call(
            method,
            kinds["meas"](Id=meas),
            kinds["part"](Id=part),
            kinds["recipe"](Id=recipe),
            kinds["product"](Id=""),
            ua.Variant([], ua.VariantType.Variant, is_array=True),
        )
        return job.Id, error

    async def event(self, kind: str, *, job: str | None = None) -> dict[str, Any]:
        """Take out the first event of `kind`, of `job` if given, and return its fields."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            for n, (name, fields) in enumerate(self.events):
                if name == kind and (job is None or fields["JobId"].Value.Id == job):
                    del self.events[n]
                    return {key: value.Value for key, value in fields.items()}
            assert time.monotonic() < end_s, f"no {kind} of {job}"
            await asyncio.sleep(0.005)


IDS = {"meas": 3015, "part": 3004, "recipe": 3002, "product": 3003, "result": 3021, "job": 3016}


async def until(what: Callable[[], bool]) -> None:
    """Wait until `what` holds, without holding up the loop."""
    end_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end_s, "it never came to be"
        await asyncio.sleep(0.01)
