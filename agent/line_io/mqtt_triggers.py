"""What comes on the trigger topic: taken by the desk, or refused with the reason said. It knows no network."""

from __future__ import annotations

from collections import deque

from agent.line_io.mqtt_messages import Refusal, Trigger, read_trigger
from agent.line_io.mqtt_queue import MqttQueue
from agent.ports.line import LineDesk, Refused
from agent.ports.log import Log
from contract.errors import BadMessage

_KNOWN_ASKS = 64


class MqttTriggers:
    """The connection's thread calls everything."""

    def __init__(self, desk: LineDesk, queue: MqttQueue, log: Log) -> None:
        self._desk, self._queue, self._log = desk, queue, log
        self._known: deque[int | str] = deque(maxlen=_KNOWN_ASKS)

    def came(self, payload: bytes, *, retained: bool, again: bool, left_s: int | None) -> None:
        """Take a message: a trigger whose part may be gone is refused, and one that was taken is not taken twice.

        Args:
            retained: the broker kept it; nobody knows since when.
            again: the broker perhaps delivered it before, as it may with QoS 1.
            left_s: how many seconds it is of use still, by the broker; None: that was not said.
        """
        try:
            trigger = read_trigger(payload)
        except BadMessage as error:
            self._queue.count("malformed")
            self._log.fault("plc", f"a trigger was refused: {error.one_line()}")
            self._queue.refuse(Refusal("malformed", said=error.one_line()))
            return
        if retained or left_s == 0:
            self._queue.count("stale")
            self._queue.refuse(Refusal("retained" if retained else "stale", trigger.ask, trigger.part))
        elif again and trigger.ask in self._known:
            self._queue.count("repeated")
        else:
            self._take(trigger, left_s)

    def _take(self, trigger: Trigger, left_s: int | None) -> None:
        bounds = [trigger.valid_ms / 1e3] if trigger.valid_ms is not None else []
        bounds += [float(left_s)] if left_s is not None else []
        refused = self._desk.trigger(trigger.ask, trigger.part, valid_s=min(bounds, default=None))
        if refused is None:
            self._known.append(trigger.ask)
            self._queue.count("taken")
            return
        self._queue.count("refused")
        said = self._desk.state().why if refused is Refused.NOT_READY else ""
        self._queue.refuse(Refusal(refused.value, trigger.ask, trigger.part, said))
