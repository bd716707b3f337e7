"""A station's uplink without camera and model: the agent's real outbox, delivery, loop and MQTT link, in threads of the test.

The one place of these tests that puts the agent's uplink together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from agent.chores import Chores
from agent.clock import SystemClock
from agent.delivery import Delivery
from agent.mailboxes import Inbox, ReportBox
from agent.ports.policy import ImagesLeave
from agent.store.database import claim_boot, open_database, transaction
from agent.store.outbox import Outbox
from agent.store.samples import Samples
from agent.uplink.mqtt import MqttLink
from agent.uplink_loop import UplinkLoop, UplinkRules
from contract.messages import Accounting, Header, StationState, Summary
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, empty_window
from contract.sketches.wire import to_wire
from tests.chaos.ledger import Produced
from tests.fakes.agent_line import DictMemory, ListLog

_WINDOW = to_wire(empty_window(SketchIdentity(FEATURES_VERSION, 7, "r" * 64, "a" * 64, 2)))


class Station:
    """A station that is fed by hand. `port` is the broker's, or a proxy's before it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        port: int,
        produced: Produced,
        *,
        keepalive_s: int = 15,
        resend_after_s: float = 2.0,
        reconnect_max_s: float = 0.5,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "agent.sqlite"
        self.name, self._produced = name, produced
        self._connections = [open_database(path) for _ in range(3)]
        self.boot = claim_boot(self._connections[0], path)
        self._adding = Outbox(self._connections[0], boot=self.boot)
        self.link = MqttLink("127.0.0.1", port, name, self._birth, SystemClock(), keepalive_s=keepalive_s)
        self.log = ListLog()
        self.inbox, self.report = Inbox(), ReportBox()
        samples = Samples(self._connections[1], folder / "samples")
        self.delivery = Delivery(Outbox(self._connections[2], boot=self.boot), resend_after_s=resend_after_s)
        self.pauses = 0
        self.loop = UplinkLoop(
            self.link,
            self.delivery,
            Chores(name, DictMemory(), samples, None, ImagesLeave.NEVER, {}, self.log),
            self.inbox,
            self.report,
            SystemClock(),
            self.log,
            UplinkRules(name, connect_within_s=2.0, reconnect_s=0.1, reconnect_max_s=reconnect_max_s),
            roll=self._roll,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.loop.run, args=(self._stop,), name=name, daemon=True)

    def _roll(self) -> float:
        self.pauses += 1
        return 0.5

    def _birth(self, online: bool) -> StationState:
        return StationState(self.name, self.boot, online, time.time(), simulated=True)

    def start(self) -> Station:
        """Begin to talk to the broker."""
        self._thread.start()
        return self

    def produce(self, count: int = 1, *, note: str = "") -> None:
        """End `count` windows, of different numbers of frames."""
        for _ in range(count):
            with transaction(self._connections[0]):
                captured = 10 + len(self._produced) % 7
                header = Header(self.name, "", 0, time.time() - 60.0, time.time(), time.monotonic(), True, "d" * 64)
                accounting = Accounting(captured=captured, passed=captured)
                seq = self._adding.add(Summary(header, accounting, _WINDOW, note=note), len(self._produced))
            self._produced.add(self.name, self.boot, seq, captured)

    def waiting(self) -> int:
        """Return how many summaries are in the outbox."""
        return self._adding.depth()

    def stop(self) -> None:
        """End in good order; what is in the outbox stays there."""
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join(60)
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def wait_for(what: Callable[[], object], within_s: float = 90.0) -> None:
    """Wait until `what()` holds."""
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
