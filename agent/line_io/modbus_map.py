"""The station's Modbus registers, version 1: what a PLC programmer needs to know of `[plc] kind = "modbus"`.

The station is the server (slave), the PLC the client (master). Addresses below are those on the wire, from 0: "holding register 2"
is 40003 (or 400003, or %MW2) in tools that count from 1. Numbers of two registers have the high word first; texts have two
characters a register, the first in the high byte, and end with their registers or with a zero byte. Functions 1, 2, 3, 4, 5, 6,
15, 16, 22 and 23 are answered. Unit identifiers: the one of `[plc] unit`, and 0 and 255, which mean "the device at this address".

Holding registers (the PLC writes them and may read them back):

    0      HEARTBEAT    anything that changes; once it was written, three missed [plc] heartbeat_s withdraw what is open
    1      ACK          the REQUEST whose result was taken; acts when it changes
    2      REQUEST      a number from 1 to 65535, other than the last: a part is there. 0: nothing is asked (see below)
    3      VALID_MS     how long an answer is of use; 0: as long as the station thinks. Never longer than that
    4-5    PART_NUMBER  the part's id as a number; used when PART_TEXT is empty. 0: it has none
    6-21   PART_TEXT    the part's id as text, up to 32 characters
    1000-  a copy of the input registers (input register n is holding register 1000 + n), for a PLC without function 4

Input registers (the station writes them):

    0      MAP_VERSION  1
    1      HEARTBEAT    counts up every [plc] heartbeat_s; treat three missed as "reject"
    2      STATE        the bits of the discrete inputs, bit 0 is discrete input 0
    3      WAITING      triggers that have no verdict yet
    4      LAST_REQUEST the REQUEST that was seen last
    5      REQUEST_CODE what came of it: 0 nothing yet, 1 taken, 11 to 15 refused (see reasons)
    6      ASK          the result in hand: of which REQUEST it is. 0: none is in hand
    7      STATUS       0 none, 1 busy, 2 verdict, 3 lost (taken, but there is no verdict), 4 refused
    8      VERDICT      0 none, 1 PASS, 2 REJECT, 3 REVIEW. Lost and refused parts are 2
    9      CAUSE        why it is REVIEW, or what failed: 1 unsure, 2 drifted, 3 degraded, 4 late, 5 broken_model, 6 no_model,
                        7 camera_fault, 8 bad_image, 9 blank_frame, 10 frozen_frame, 11 broken_disk, 12 internal,
                        13 not_recorded, 14 unfamiliar, 99 another; 0 none
    10     REASON       why it is lost: 1 timeout, 2 camera fault, 3 station stopped, 4 controller away; why it is refused: 11 not
                        ready, 12 too many wait, 14 out of step, 15 the PLC's heartbeat is missing
    11     CONFIDENCE   0 to 10000: the model's confidence in 1/10000
    12     LATENCY_MS   from the request to the verdict, at most 65535
    13     LABEL_CODE   CRC-16/XMODEM of the label in UTF-8; 0: no label. The same label has the same number for ever
    14-15  TRIGGERS     since the station's start: TRIGGERS = ANSWERED + LOST + REFUSED + WAITING, in every single read
    16-17  ANSWERED
    18-19  LOST
    20-21  REFUSED
    22-23  UNSHOWN      answers that were never read and never acknowledged
    24-39  PART         the part's id, as the station understood it
    40-47  LABEL        the label, up to 16 bytes
    100-   64 results of 8 registers each, in the order of registers 6 to 13: that of REQUEST n stands at 100 + 8 * (n modulo 64).
           For a PLC that triggers the next part before it has the last verdict; compare ASK with n before looking further.

Discrete inputs (the station writes them), and the bits of STATE:

    0 READY         parts may be triggered
    1 BUSY          the result in hand is not there yet
    2 RESULT_READY  the result in hand is there (a verdict, or lost, or refused)
    3 PASS          1 only while the result in hand is a verdict PASS
    4 REJECT        1 unless PASS or REVIEW: also without a result, after a fault, and after a start
    5 REVIEW        the result in hand is a verdict REVIEW
    6 FAULT         the station cannot judge parts now
    7 LOST          the PLC's heartbeat was there and is missing
    8 BEAT          changes with HEARTBEAT

Coils (a simple PLC writes them instead of registers 0 to 2; the part's id registers are used with them too):

    0 REQUEST       rising: a part is there; falling: the result was taken, or is of no use any more
    1 ACK           rising: the result was taken
    2 BEAT          as HEARTBEAT: change it

One part after another: (1) at the start write REQUEST 0. (2) Part there: write the part's id, then REQUEST n, one more than the
last, or all in one write. (3) Read input registers 2 to 13 in one request until ASK = n and STATUS >= 2, no longer than your own
patience; act on VERDICT 1 only. (4) Write ACK n: the station clears the result. With coils: raise REQUEST, wait for RESULT_READY,
act on PASS, drop REQUEST, wait until RESULT_READY and BUSY are 0: a fall that is shorter than the PLC's polling is never sent.

What is settled:
- The result in hand is that of the last REQUEST. A new REQUEST takes the old result away at once, in the same write.
- One write and one read are each handled whole. What is written in several steps takes effect with the step that changes REQUEST:
  write the part before it. What is read in several steps may belong to two results: compare ASK again, or read it in one.
- Of 64 results the oldest gives way: REQUEST n + 64, once taken, withdraws REQUEST n if that is still open (lost, 4).
- A REQUEST that comes again is another part: the older one of that number is withdrawn (lost, 4), and its result is gone.
- REQUEST 0 withdraws what is open (it counts as lost, 4) and takes away every result.
- A PLC that starts anew counts anew: without REQUEST 0 it may read the PASS of an older part of that number, never acknowledged.
- After the station's start, or once the PLC's heartbeat was missing, a REQUEST that the PLC only repeats must not trigger a part
  that is long gone: the first one is refused as out of step, unless REQUEST 0 came before it.
- A result that nobody acknowledges is taken away after 30 s. One that was neither read nor acknowledged counts as UNSHOWN.
- `[plc] triggers = false`: there are no requests; each verdict is shown at once, under a number that counts up.
- Any number of clients may read, eight at once. Only one address may write: who wrote first, until it has no connection or was not
  heard of for 10 s; others get exception 6. A connection that ends changes nothing else: the result is still there afterwards.
- Another address that writes then takes over: what was open is withdrawn (lost, 4), every result is taken away, all that can be
  written is 0 again, and its first REQUEST is out of step unless REQUEST 0 came before it. Two PLCs may count alike, and a PASS
  is for the one that asked.
- A server that dies of a fault of the station's own is made anew within seconds: every connection breaks, and results, step, the
  heartbeat's time and the writer stay as they were; the writer has 10 s from its last word to come back. A station that starts
  anew, or opens this side of it anew, knows nothing of before: no result, no writer, and the first REQUEST is out of step.
- Exceptions: 1 another function; 2 an address that is not here, or not for writing; 3 more than 125 registers, or a broken
  request; 4 the station failed (no verdict comes of it); 6 another client writes; 11 another unit identifier.
- Everything that can be written here can be written by whoever reaches the port: Modbus has no passwords.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from enum import IntEnum, IntFlag

from agent.decide.causes import Cause
from agent.ports.line import LineCounts, Lost, Refused

VERSION = 1
SLOTS = 64
SLOT_WORDS = 8
RING = 100
INPUTS = RING + SLOTS * SLOT_WORDS
MIRROR = 1000
PART_WORDS = 16
LABEL_WORDS = 8


class Hold(IntEnum):
    """Holding registers."""

    HEARTBEAT = 0
    ACK = 1
    REQUEST = 2
    VALID_MS = 3
    PART_NUMBER = 4
    PART_TEXT = 6


HOLDINGS = Hold.PART_TEXT + PART_WORDS


class In(IntEnum):
    """Input registers; those of the result in hand from ASK to LABEL_CODE."""

    MAP_VERSION = 0
    HEARTBEAT = 1
    STATE = 2
    WAITING = 3
    LAST_REQUEST = 4
    REQUEST_CODE = 5
    ASK = 6
    STATUS = 7
    VERDICT = 8
    CAUSE = 9
    REASON = 10
    CONFIDENCE = 11
    LATENCY_MS = 12
    LABEL_CODE = 13
    TRIGGERS = 14
    ANSWERED = 16
    LOST = 18
    REFUSED = 20
    UNSHOWN = 22
    PART = 24
    LABEL = 40


class Bit(IntFlag):
    """STATE, and the discrete inputs in this order."""

    READY = 1 << 0
    BUSY = 1 << 1
    RESULT_READY = 1 << 2
    PASS = 1 << 3
    REJECT = 1 << 4
    REVIEW = 1 << 5
    FAULT = 1 << 6
    LOST = 1 << 7
    BEAT = 1 << 8


class Coil(IntEnum):
    """Coils."""

    REQUEST = 0
    ACK = 1
    BEAT = 2


class Status(IntEnum):
    """How a result stands."""

    NONE = 0
    BUSY = 1
    VERDICT = 2
    LOST = 3
    REFUSED = 4


class Reason(IntEnum):
    """Why a part has no verdict."""

    NONE = 0
    TIMEOUT = 1
    FAULT = 2
    STOPPED = 3
    GONE = 4
    NOT_READY = 11
    FULL = 12
    AGAIN = 13
    OUT_OF_STEP = 14
    NO_HEARTBEAT = 15


TAKEN = 1
VERDICTS = {"PASS": 1, "REJECT": 2, "REVIEW": 3}
REJECT = VERDICTS["REJECT"]
OTHER_CAUSE = 99
CAUSES = {
    "": 0,
    Cause.UNSURE.value: 1,
    Cause.DRIFTED.value: 2,
    Cause.DEGRADED.value: 3,
    Cause.LATE.value: 4,
    Cause.BROKEN_MODEL.value: 5,
    Cause.NO_MODEL.value: 6,
    Cause.CAMERA_FAULT.value: 7,
    Cause.BAD_IMAGE.value: 8,
    Cause.BLANK_FRAME.value: 9,
    Cause.FROZEN_FRAME.value: 10,
    Cause.BROKEN_DISK.value: 11,
    Cause.INTERNAL.value: 12,
    "not_recorded": 13,
    Cause.UNFAMILIAR.value: 14,
}
"""CAUSE in numbers; a cause that a newer station has and this table has not is 99."""


def reason_of(why: Lost | Refused | None) -> Reason:
    """Return the number of a reason."""
    return Reason[why.name] if why is not None else Reason.NONE


def words(text: str, registers: int) -> list[int]:
    """Return `text` in UTF-8, two bytes a register, cut or filled with zeros; a character is never cut in two."""
    raw = text.encode()[: 2 * registers].decode(errors="ignore").encode().ljust(2 * registers, b"\0")
    return [raw[at] << 8 | raw[at + 1] for at in range(0, len(raw), 2)]


def text(registers: Sequence[int]) -> str:
    """Return the text in `registers` up to its first zero byte; what is no UTF-8 becomes U+FFFD."""
    raw = b"".join(register.to_bytes(2, "big") for register in registers)
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def part_of(holding: Sequence[int]) -> str:
    """Return the part's id from the holding registers, "" for none: the text, else the number."""
    named = text(holding[Hold.PART_TEXT : Hold.PART_TEXT + PART_WORDS])
    number = holding[Hold.PART_NUMBER] << 16 | holding[Hold.PART_NUMBER + 1]
    return named or (str(number) if number else "")


def double(number: int) -> list[int]:
    """Return a number in two registers, the high word first; it wraps as a 32-bit counter does."""
    return [number >> 16 & 0xFFFF, number & 0xFFFF]


def label_code(label: str) -> int:
    """Return the number of a label, 0 for none."""
    return crc_hqx(label.encode(), 0) if label else 0


def counters(counts: LineCounts) -> list[int]:
    """Return the registers TRIGGERS to UNSHOWN."""
    lost, refused = sum(counts.lost.values()), sum(counts.refused.values())
    return [word for n in (counts.triggers, counts.answered, lost, refused, counts.unshown) for word in double(n)]
