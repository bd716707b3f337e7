"""What the registers mean: requests in, results out, and what falls to "reject" when. `modbus_map` is its specification.

Knows no network. Called by the Modbus server's thread (`write`, `read`, `tick`) and by the station's (`show`, `beat`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Bit, Coil, Hold, In, Reason, Status
from agent.line_io.modbus_result import NOTHING, Result
from agent.ports.line import Answer, LineDesk

_MAX = 0xFFFF
_PASS, _REVIEW = m.VERDICTS["PASS"], m.VERDICTS["REVIEW"]


class Handshake:
    """The registers and what they do. Its lock is held for moments; under it the desk is called, never the other way round."""

    def __init__(
        self,
        desk: LineDesk,
        monotonic: Callable[[], float],
        *,
        silence_s: float,
        hold_s: float = 30.0,
        only_asked: bool = False,
    ) -> None:
        """`silence_s`: without a heartbeat for so long either side is away; `hold_s`: results nobody acknowledges.

        `only_asked`: the PLC triggers, and a PASS of a frame that nobody asked for must stand nowhere.
        """
        self._only_asked = only_asked
        self._desk = desk
        self._monotonic = monotonic
        self._silence_s = silence_s
        self._hold_s = hold_s
        self._lock = threading.Lock()
        self._holding = [0] * m.HOLDINGS
        self._coils = [False] * len(Coil)
        self._in_hand = NOTHING
        self._slots: dict[int, Result] = {}
        # The desk gets a number of ours: the PLC's may come again while an old answer is still on its way.
        self._number = 0
        self._open: dict[int, Result] = {}
        self._in_step = False
        self._last_request = 0
        self._request_code = 0
        self._unasked = 0
        self._beats = 0
        self._beat_s = monotonic()
        self._heard_s: float | None = None
        self._controller_lost = False
        self._stopping = self._stopped = False

    # What the PLC does.

    def write(self, address: int, values: Sequence[int]) -> None:
        """Take holding registers; the caller has checked the range."""
        with self._lock:
            before = list(self._holding)
            self._holding[address : address + len(values)] = values
            if self._holding[Hold.HEARTBEAT] != before[Hold.HEARTBEAT]:
                self._hear()
            ack, request = self._holding[Hold.ACK], self._holding[Hold.REQUEST]
            if ack and ack != before[Hold.ACK]:
                self._acknowledge(ack)
            written = address <= Hold.REQUEST < address + len(values)
            if written and (request != before[Hold.REQUEST] or not self._in_step):
                self._request(request)

    def write_coils(self, address: int, values: Sequence[bool]) -> None:
        """Take coils; the caller has checked the range."""
        with self._lock:
            before = list(self._coils)
            self._coils[address : address + len(values)] = values
            if self._coils[Coil.BEAT] != before[Coil.BEAT]:
                self._hear()
            if self._coils[Coil.ACK] and not before[Coil.ACK]:
                self._acknowledge(self._in_hand.ask)
            written = address <= Coil.REQUEST < address + len(values)
            if written and (self._coils[Coil.REQUEST] != before[Coil.REQUEST] or not self._in_step):
                self._request(self._last_request % _MAX + 1 if self._coils[Coil.REQUEST] else 0)

    def change_hands(self) -> None:
        """Start anew with another PLC: it has written nothing yet, and takes no other's results for its own."""
        with self._lock:
            # Else its first part would go by the other's part id and patience, where it writes none.
            self._holding = [0] * m.HOLDINGS
            self._coils = [False] * len(Coil)
            self._in_step = False
            self._heard_s = None
            if self._controller_lost:
                self._controller_lost = False
                self._desk.away("")
            self._clear()

    def holding(self) -> list[int]:
        """Return the holding registers as they were written."""
        with self._lock:
            return list(self._holding)

    def coils(self) -> list[bool]:
        """Return the coils as they were written."""
        with self._lock:
            return list(self._coils)

    def inputs(self, address: int, count: int) -> list[int]:
        """Return `count` input registers from `address`; what is in them counts as taken."""
        end = address + count
        with self._lock:
            found = self._first() if address < m.RING else [0] * m.RING
            first = max(0, (address - m.RING) // m.SLOT_WORDS)
            found += [0] * (first * m.SLOT_WORDS)
            for slot in range(first, max(first, -(-(end - m.RING) // m.SLOT_WORDS))):
                result = self._slots.get(slot, NOTHING) if self._alive() else NOTHING
                at = len(found)
                found += result.registers()
                result.taken |= result.since_s > 0 and address <= at + In.VERDICT - In.ASK < end
            self._in_hand.taken |= self._in_hand.since_s > 0 and address <= In.VERDICT < end
        return found[address:end]

    def discretes(self) -> list[bool]:
        """Return the discrete inputs; the result in hand counts as taken."""
        with self._lock:
            self._in_hand.taken |= self._in_hand.since_s > 0
            bits = self._bits()
            return [bool(bits & bit) for bit in Bit]

    # What the station does.

    def show(self, answer: Answer) -> None:
        """Show an answer under the request it is for; one whose request is gone is not shown."""
        with self._lock:
            if answer.ask is None:
                result = self._unrequested(answer)
            else:
                result = self._open.pop(int(answer.ask), None)
            if result is None or self._stopped:
                self._desk.unshown(answer)
                return
            result.answer = answer
            result.since_s = self._monotonic()
            result.status = Status.LOST if answer.lost else Status.VERDICT
            result.reason = m.reason_of(answer.lost)

    def beat(self) -> None:
        """Show that the station lives. How it is, is asked for with each reading."""
        with self._lock:
            self._beats += 1
            self._beat_s = self._monotonic()

    def tick(self) -> None:
        """See who has gone silent, and take away what nobody wants; to be called a few times a second."""
        with self._lock:
            now_s = self._monotonic()
            silent = self._heard_s is not None and now_s - self._heard_s > self._silence_s
            if silent and not self._controller_lost:
                self._controller_lost, self._in_step = True, False
                self._desk.away("the controller's heartbeat stopped")
                self._clear()
            for result in [*self._slots.values(), self._in_hand]:
                if result.since_s and now_s - result.since_s > self._hold_s:
                    self._take_away(result)

    def stop(self) -> bool:
        """Fall to "reject" for good; return whether a controller has yet to see an answer that was there."""
        with self._lock:
            self._stopping = True
            return any(result.since_s and not result.taken for result in self._slots.values())

    def close(self) -> None:
        """Take everything away."""
        with self._lock:
            self._stopped = True
            self._clear()

    def _hear(self) -> None:
        self._heard_s = self._monotonic()
        if self._controller_lost:
            self._controller_lost = False
            self._desk.away("")

    def _request(self, request: int) -> None:
        if not request:
            self._in_step = True
            self._clear()
            return
        self._last_request, in_step, self._in_step = request, self._in_step, not self._controller_lost
        slot = request % m.SLOTS
        old = self._slots.get(slot)
        if old is not None and old.ask == request:
            self._take_away(
                old
            )  # a number that comes again is another part: what is to come of the first is not shown as its
            old = None
        part = m.part_of(self._holding)
        self._in_hand = result = Result(request, part)
        if self._controller_lost:
            why: Reason = Reason.NO_HEARTBEAT
        elif not in_step:
            why = Reason.OUT_OF_STEP
        else:
            self._number += 1
            self._open[self._number] = result
            valid_ms = self._holding[Hold.VALID_MS]
            refused = self._desk.trigger(self._number, part, valid_s=valid_ms / 1e3 if valid_ms else None)
            if refused is not None:
                del self._open[self._number]
            why = m.reason_of(refused)
        self._request_code = why or m.TAKEN
        if not why or old is None or old.status is not Status.BUSY:
            if old is not None:
                self._take_away(old)
            self._slots[slot] = result
        if why:
            result.status, result.reason, result.since_s = Status.REFUSED, why, self._monotonic()

    def _unrequested(self, answer: Answer) -> Result | None:
        if self._only_asked or self._last_request or self._stopped:
            return None  # it would stand where the answer to a request is expected
        self._unasked = self._unasked % _MAX + 1
        slot = self._unasked % m.SLOTS
        if slot in self._slots:
            self._take_away(self._slots[slot])
        self._in_hand = result = self._slots[slot] = Result(self._unasked, answer.part)
        return result

    def _acknowledge(self, ask: int) -> None:
        for result in (self._in_hand, self._slots.get(ask % m.SLOTS, NOTHING)):
            if result.ask == ask and result.since_s:
                result.taken = True
                self._take_away(result)

    def _clear(self) -> None:
        for result in [*self._slots.values(), self._in_hand]:
            self._take_away(result)

    def _take_away(self, result: Result) -> None:
        """Show a result no more; what is open is withdrawn. One that is gone already stays gone."""
        if self._in_hand is result:
            self._in_hand = NOTHING
        if self._slots.get(result.ask % m.SLOTS) is not result:
            return  # a refusal whose place another has
        del self._slots[result.ask % m.SLOTS]
        for number in [number for number, each in self._open.items() if each is result]:
            del self._open[number]
            self._desk.withdraw(number)
        if result.answer is not None and not result.taken:
            self._desk.unshown(result.answer)

    # What the registers say.

    def _alive(self) -> bool:
        """Return whether the station itself beats: a hung one has no verdicts."""
        return self._monotonic() - self._beat_s <= self._silence_s and not self._stopped

    def _bits(self) -> Bit:
        alive = self._alive()
        result = self._in_hand if alive else NOTHING
        there, verdict = result.since_s > 0, result.registers()[In.VERDICT - In.ASK]
        passed, review = there and verdict == _PASS, there and verdict == _REVIEW
        ready = alive and not self._stopping and self._desk.state().ready
        shown = {
            Bit.READY: ready and not self._controller_lost,
            Bit.BUSY: result.status is Status.BUSY,
            Bit.RESULT_READY: there,
            Bit.PASS: passed,
            Bit.REJECT: not passed and not review,
            Bit.REVIEW: review,
            Bit.FAULT: not ready,
            Bit.LOST: self._controller_lost,
            Bit.BEAT: self._beats & 1,
        }
        return Bit(sum(bit for bit, on in shown.items() if on))

    def _first(self) -> list[int]:
        result, counts = self._in_hand if self._alive() else NOTHING, self._desk.counts()
        found = [
            m.VERSION,
            self._beats & _MAX,
            int(self._bits()),
            min(counts.waiting, _MAX),
            self._last_request,
            self._request_code,
            *result.registers(),
            *m.counters(counts),
            *m.words(result.part, m.PART_WORDS),
            *m.words(result.answer.label if result.answer else "", m.LABEL_WORDS),
        ]
        return found + [0] * (m.RING - len(found))
