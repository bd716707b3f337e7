"""The station's thread towards the cloud: birth, reports, the outbox out; acknowledgements, orders and commands in (DESIGN 5).

It meets the frame loop only in SQLite, and the update loop only in two mailboxes. Being offline is no error: it is tried
again, with full jitter, for ever, and nothing is lost meanwhile.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from agent.chores import Chores
from agent.delivery import Delivery
from agent.ports.clock import Clock
from agent.ports.link import Incoming, Link, Trouble
from agent.ports.log import Log
from agent.ports.orders import OrderInbox, Report
from contract.codec import decode_control, encode_control
from contract.errors import BadMessage, LinkDown, PlumblineError
from contract.messages import Ack, Command, CommandResult, DesiredState
from contract.topics import Channel

_POLL_S = 0.05
_MAX_WAITING_COMMANDS = 64
# A connection that held for so long was a good one: the next failure is the first again.
_HELD_S = 10.0
# So many connections in a row that ended sooner than that are no accident of the network.
_CUT_S, _MOST_CUT = 30.0, 5
_CUT_SHORT_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class UplinkRules:
    """Reconnection waits a random time up to `reconnect_s` doubled per failure, at most `reconnect_max_s`.

    Where another device uses this station's name, or the broker does not let it in, at least half of `shut_out_s` doubled each
    time, at most `shut_out_max_s`: trying more often changes nothing, and throws the other device off.
    """

    station: str
    connect_within_s: float = 5.0
    reconnect_s: float = 0.5
    reconnect_max_s: float = 30.0
    shut_out_s: float = 20.0
    shut_out_max_s: float = 600.0


class UplinkLoop:
    """Drives the link. `run` is one thread; images are uploaded by a second one, so that they never hold up an acknowledgement."""

    def __init__(
        self,
        link: Link,
        delivery: Delivery,
        chores: Chores,
        inbox: OrderInbox,
        report: Report,
        clock: Clock,
        log: Log,
        rules: UplinkRules,
        *,
        roll: Callable[[], float],
        remember: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`remember` keeps what shuts the station out, "" for nothing, where `plumbline-agent status` finds it."""
        self._remember = remember
        self._link = link
        self._delivery = delivery
        self._chores = chores
        self._inbox = inbox
        self._report = report
        self._clock = clock
        self._log = log
        self._rules = rules
        self._roll = roll
        self._failures = 0
        self._shut_out = 0
        self._cut_short = 0
        self._ever_connected = False
        self._connected_s = clock.monotonic()
        self._away_since_s: float | None = None
        self._remembered: str | None = None
        self._new_boot = False
        self._commands: queue.Queue[Command] = queue.Queue(_MAX_WAITING_COMMANDS)
        self._results: queue.Queue[CommandResult] = queue.Queue()
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""
        self.bad_messages = 0

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then send what the outbox holds for a moment and say goodbye."""
        worker = threading.Thread(target=self._work_commands, args=(stop,), name="chores", daemon=True)
        worker.start()
        while not stop.is_set():
            self._turn(stop)
        self._say_goodbye()

    def connected(self) -> bool:
        """Return whether the broker is reached, as far as this side knows. Any thread."""
        return self._link.connected()

    def _turn(self, stop: threading.Event) -> None:
        try:
            if self._link.connected():
                self.tick(_POLL_S)
            else:
                self._connect()
        except LinkDown as error:
            stop.wait(self._away(error))
        except PlumblineError as error:
            self._log.fault("uplink", error.one_line())
            stop.wait(1.0)
        except Exception as error:  # noqa: BLE001 - the daemon's outermost guard: counted, said, and tried again
            self.faults += 1
            self._log.fault("uplink", f"{type(error).__name__}: {error}")
            stop.wait(1.0)

    def tick(self, within_s: float) -> None:
        """Take what arrived, then send what is due.

        Raises:
            LinkDown: the connection was lost.
        """
        for incoming in self._link.poll(within_s):
            self._take(incoming)
        if self._new_boot:
            # The Will and the birth still say the old boot: a connection of its own for the new one.
            self._new_boot = False
            self._link.close(1.0)
            return
        state = self._report.latest() if self._link.room().free else None
        if state is not None:
            self._link.publish(Channel.REPORTED, encode_control(state), retain=True)
        while self._link.room().free:
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                break
            self._link.publish(Channel.RESULT, encode_control(result))
        for row in self._delivery.next_rows(self._link.room(), self._clock.monotonic()):
            self._link.publish(Channel.SUMMARY, row.payload)
        for trouble in self._delivery.troubles():
            self._log.fault("outbox", trouble)
        self._settle()

    def _connect(self) -> None:
        self._link.connect(self._rules.connect_within_s)
        self._connected_s, self._ever_connected = self._clock.monotonic(), True
        self._delivery.reconnected()
        self._report.reset()
        away = ""
        if self._away_since_s is not None:
            away = f" after {_span(self._connected_s - self._away_since_s)} away"
            self._away_since_s = None
        # One line of two: a device that takes turns with another says so once.
        if not self._shut_out:
            self._log.say(f"connected to the broker{away}; {self._delivery.waiting()} summaries wait")

    def _away(self, error: LinkDown) -> float:
        """Note that the broker is away; return how long to wait before it is tried again."""
        now_s, trouble = self._clock.monotonic(), self._link.trouble()
        held_s = now_s - self._connected_s if self._away_since_s is None else 0.0
        if held_s >= _HELD_S:
            self._failures = 0
        if self._away_since_s is None and self._ever_connected:
            self._cut_short = self._cut_short + 1 if held_s < _CUT_S else 0
        if trouble is Trouble.NONE and self._cut_short >= _MOST_CUT and self._away_since_s is None:
            trouble = Trouble.CUT_SHORT
        said = error.one_line()
        if trouble is Trouble.NONE:
            self._failures += 1
            # Once when it goes: whoever is offline for a week reads two lines of it, not a million.
            if self._away_since_s is None and not self._shut_out:
                self._log.say(f"{said}; {self._delivery.waiting()} summaries are kept until it is back")
            pause_s = self._pause_s()
        else:
            if self._note(trouble.value) or not self._shut_out:
                self._log.say(f"{trouble.value}: {said}")
            # A weak radio link looks like this too, and delivers something each time: it is not kept waiting as long.
            most_s = min(self._rules.shut_out_max_s, _CUT_SHORT_MAX_S if trouble is Trouble.CUT_SHORT else math.inf)
            longest_s = min(most_s, self._rules.shut_out_s * 2.0 ** min(self._shut_out, 16))
            self._shut_out += 1
            pause_s = longest_s * (1.0 + self._roll()) / 2.0
        if self._away_since_s is None:
            self._away_since_s = now_s
        return pause_s

    @property
    def trouble(self) -> str:
        """What shuts this station out of the broker, "" for nothing."""
        return self._remembered or ""

    def _settle(self) -> None:
        """Forget what shut this station out once a connection has held: two devices take turns for as long as they wait."""
        taken = self._remembered == Trouble.TAKEN_OVER.value
        longest_s = self._rules.shut_out_max_s if taken else _CUT_S
        if self._remembered != "" and self._clock.monotonic() - self._connected_s >= longest_s:
            self._shut_out = 0
            self._note("")

    def _note(self, trouble: str) -> bool:
        """Remember what shuts this station out; return whether that is news."""
        if self._remembered == trouble:
            return False
        self._remembered = trouble
        self._remember(trouble)
        return True

    def _pause_s(self) -> float:
        # Full jitter: a fleet that lost one broker must not come back as one herd.
        longest_s = min(self._rules.reconnect_max_s, self._rules.reconnect_s * 2.0 ** min(self._failures, 16))
        return longest_s * self._roll()

    def _take(self, incoming: Incoming) -> None:
        try:
            if incoming.channel is Channel.ACK:
                self._acknowledge(decode_control(incoming.payload, Ack))
            elif incoming.channel is Channel.DESIRED:
                self._desire(incoming.payload)
            elif incoming.channel is Channel.COMMAND:
                self._commands.put_nowait(decode_control(incoming.payload, Command))
        except BadMessage as error:
            self.bad_messages += 1
            self._log.fault("bad message", f"{incoming.channel.value}: {error.one_line()}")
        except queue.Full:
            # QoS 1 and an idempotent id: the cloud asks again when it gets no answer.
            self._log.fault("commands", f"more than {_MAX_WAITING_COMMANDS} commands wait; one is dropped unanswered")

    def _acknowledge(self, ack: Ack) -> None:
        if ack.station != self._rules.station:
            raise BadMessage(f"an acknowledgement for '{ack.station[:63]}'")
        answered = self._delivery.acknowledged(ack, self._clock.now())
        if answered.renamed:
            self._log.say(
                f"{answered.renamed} summaries go under new names: the cloud has others of this station under theirs. A second"
                " device may be using its name, or this one was restored from a backup"
            )
        if answered.new_boot:
            self._log.say("a new boot begins: what comes from now on cannot be taken for what the cloud has already")
            self._new_boot = True

    def _desire(self, payload: bytes) -> None:
        if not payload:
            return  # a cleared retained message
        desired = decode_control(payload, DesiredState)
        if desired.station != self._rules.station:
            raise BadMessage(f"a desired state for '{desired.station[:63]}'")
        self._inbox.put(desired)

    def _work_commands(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                command = self._commands.get(timeout=0.2)
            except queue.Empty:
                continue
            for attempt in range(5):
                try:
                    result = self._chores.do(command, self._clock.now())
                except LinkDown as error:
                    self._log.fault("chores", error.one_line())
                    stop.wait(2.0**attempt * self._roll())
                except Exception as error:  # noqa: BLE001 - outermost guard: one bad command must not end the others
                    self.faults += 1
                    self._log.fault("chores", f"command {command.name[:40]}: {type(error).__name__}: {error}")
                    break
                else:
                    if result is not None:
                        self._results.put(result)
                    break
            else:
                self._log.say(f"command {command.id[:40]} ({command.name[:40]}) is given up until the cloud asks again")

    def _say_goodbye(self) -> None:
        until_s = self._clock.monotonic() + 2.0
        try:
            while self._link.connected() and self._clock.monotonic() < until_s:
                self.tick(_POLL_S)
                if not self._delivery.outstanding:
                    break
        except PlumblineError as error:
            self._log.say(f"leaving with summaries unsent, they are kept: {error.one_line()}")
        except Exception as error:  # noqa: BLE001 - the outermost guard here too: the broker still gets its goodbye
            self.faults += 1
            self._log.fault("uplink", f"leaving: {type(error).__name__}: {error}")
        self._link.close(1.0)


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
