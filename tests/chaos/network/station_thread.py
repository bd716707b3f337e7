"""A station's uplink without camera and model, put together by the agent's own wiring, in threads of the test."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from agent.chores import Chores
from agent.clock import SystemClock
from agent.cloud_wiring import CloudSide
from agent.mailboxes import Inbox, ReportBox
from agent.ports.policy import ImagesLeave
from agent.ports.samples import SampleSender
from agent.settings import load_settings
from agent.store.database import transaction
from agent.store_wiring import Store
from contract.messages import Accounting, Header, Summary
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, empty_window
from contract.sketches.wire import to_wire
from tests.chaos.ledger import Produced
from tests.fakes.agent_line import ListLog

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
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "agent.toml"
        config.write_text(
            f'station = "{name}"\nhome = "state"\n[broker]\nport = {port}\n'
            f"resend_after_s = {resend_after_s}\nreconnect_max_s = 0.5\n"
        )
        settings, clock = load_settings(config), SystemClock()
        self.name, self._produced = name, produced
        self.log = ListLog()
        self._stack = ExitStack()
        self._store = Store(settings, clock, self.log, self._stack, simulated=True)
        self.boot = self._store.boot
        self._connection = self._store.connect()
        self._outbox = self._store.outbox(self._connection)
        self.inbox, self.report = Inbox(), ReportBox()
        self.rolls: list[float] = []
        """Every random number of 0 to 1 that the uplink has asked for."""
        cloud = CloudSide(settings, clock, self.log, self._store, self._stack, roll=self._roll, simulated=True)

        def chores(store: Store, sender: SampleSender | None) -> Chores:
            samples = store.samples(store.connect())
            return Chores(name, store.memory(), samples, sender, ImagesLeave.NEVER, {}, self.log)

        uplink = cloud.uplink(self.inbox, self.report, chores)
        assert uplink is not None
        self.uplink = uplink
        # The product's 15 s are right for a factory; these tests would wait for little else.
        self.uplink._link._keepalive_s = keepalive_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.uplink.run, args=(self._stop,), name=name, daemon=True)

    def _roll(self) -> float:
        self.rolls.append(random.random())
        return self.rolls[-1]

    def start(self) -> Station:
        """Begin to talk to the broker."""
        self._thread.start()
        return self

    def connected(self) -> bool:
        """Return whether it believes that it reaches the broker."""
        return self.uplink.connected()

    def produce(self, count: int = 1, *, note: str = "") -> None:
        """End `count` windows, of different numbers of frames."""
        for _ in range(count):
            number = len(self._produced) + 1
            captured = 10 + number % 7
            header = Header(self.name, "", 0, time.time() - 60.0, time.time(), time.monotonic(), True, "d" * 64)
            accounting = Accounting(captured=captured, passed=captured)
            with transaction(self._connection):
                seq = self._outbox.add(Summary(header, accounting, _WINDOW, note=note), number)
            self._produced.add(self.name, self.boot, seq, captured)

    def waiting(self) -> int:
        """Return how many summaries are in the outbox."""
        return self._outbox.depth()

    def stop(self) -> None:
        """End in good order; what is in the outbox stays there."""
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join(60)
        self._stack.close()
