"""MQTT 5 packets to bytes and back: what a station needs of them, and no more.

A client of our own, since the kept ones cost too much for each of 10,000: aiomqtt 2 is paho, whose loop cannot select beyond 1,024
files; gmqtt runs several tasks a client; aiomqtt 3 is an alpha. Source: MQTT Version 5.0, OASIS Standard, sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import error as StructError
from struct import pack, unpack_from

from contract.errors import BadMessage

MAX_REMAINING = 268_435_455
"""The largest body a packet can have, in bytes (2.1.4)."""

_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP, _DISCONNECT = 2, 3, 4, 9, 13, 14
_SESSION_EXPIRY, _RECEIVE_MAXIMUM, _WILL_DELAY, _KEEP_ALIVE = 17, 33, 24, 19
# Property identifier -> how its value is laid out (2.2.2.2): bytes of an integer, or a letter for the others.
_LAYOUT: dict[int, int | str] = {
    **dict.fromkeys((1, 23, 25, 36, 37, 40, 41, 42), 1),
    **dict.fromkeys((19, 33, 34, 35), 2),
    **dict.fromkeys((2, 17, 24, 39), 4),
    **dict.fromkeys((3, 8, 9, 18, 21, 22, 26, 28, 31), "text"),
    11: "varint",
    38: "pair",
}


@dataclass(frozen=True, slots=True)
class Publish:
    """A message; `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    retain: bool = False
    dup: bool = False


@dataclass(frozen=True, slots=True)
class Puback:
    """The other side has taken a message; `reason` of 128 and above: it has refused it."""

    packet_id: int
    reason: int = 0


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer to CONNECT. `keep_alive_s` None: ours stands."""

    session_present: bool
    reason: int
    receive_maximum: int = 65_535
    keep_alive_s: int | None = None


@dataclass(frozen=True, slots=True)
class Suback:
    """One reason a filter; 128 and above: refused."""

    packet_id: int
    reasons: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The broker lives."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The broker ends the connection."""

    reason: int = 0


Packet = Publish | Puback | Connack | Suback | Pingresp | Disconnect


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says, retained at QoS 1, `delay_s` after the connection broke."""

    topic: str
    payload: bytes
    delay_s: int


def encode_connect(
    client_id: str, *, keep_alive_s: int, session_expiry_s: int, receive_maximum: int, will: Will | None = None
) -> bytes:
    """Return CONNECT that goes on with a session where there is one (3.1)."""
    properties = pack(">BIBH", _SESSION_EXPIRY, session_expiry_s, _RECEIVE_MAXIMUM, receive_maximum)
    flags, last = 0, b""
    if will is not None:
        flags = 0x04 | 1 << 3 | 0x20
        last = b"\x05" + pack(">BI", _WILL_DELAY, will.delay_s) + _text(will.topic) + _binary(will.payload)
    head = _text("MQTT") + pack(">BBH", 5, flags, keep_alive_s)
    return _packet(0x10, head + _varint(len(properties)) + properties + _text(client_id) + last)


def encode_subscribe(packet_id: int, filters: Sequence[tuple[str, int]]) -> bytes:
    """Return SUBSCRIBE to (filter, QoS) each (3.8)."""
    return _packet(0x82, pack(">HB", packet_id, 0) + b"".join(_text(name) + bytes((qos,)) for name, qos in filters))


def encode_publish(message: Publish) -> bytes:
    """Return PUBLISH without properties (3.3)."""
    first = 0x30 | message.dup << 3 | message.qos << 1 | message.retain
    identity = pack(">H", message.packet_id) if message.qos else b""
    topic = message.topic.encode()
    size = 2 + len(topic) + len(identity) + 1 + len(message.payload)
    return b"".join((bytes((first,)), _varint(size), pack(">H", len(topic)), topic, identity, b"\0", message.payload))


def encode_puback(packet_id: int, reason: int = 0) -> bytes:
    """Return PUBACK (3.4); a reason of 0 is left out, as 3.4.2.1 allows."""
    return _packet(0x40, pack(">HB", packet_id, reason) if reason else pack(">H", packet_id))


NO_SUBSCRIBERS = 0x10
"""A PUBACK's reason: taken, and given to nobody (3.4.2.1)."""

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


class Reader:
    """Bytes in, in any pieces; packets out."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Give the packets that are whole with `data`; what follows them is kept.

        Raises:
            BadMessage: they are no packets that a broker sends to a client; nothing after them can be read.
        """
        buffer = self._kept + data if self._kept else data
        at = 0
        try:
            while (head := _header(buffer, at)) is not None:
                size, starts = head
                if len(buffer) - starts < size:
                    break
                first, at = buffer[at], starts + size
                yield _decode(first, buffer[starts:at])
        finally:
            self._kept = buffer[at:]


def _header(buffer: bytes, at: int) -> tuple[int, int] | None:
    """Return (size of the body, where it starts), None when that cannot be told yet."""
    size = 0
    for step in range(4):
        if (where := at + 1 + step) >= len(buffer):
            return None
        size |= (buffer[where] & 0x7F) << 7 * step
        if buffer[where] < 0x80:
            return size, where + 1
    raise BadMessage("a packet's length has more than four bytes")


def _decode(first: int, body: bytes) -> Packet:
    kind = first >> 4
    try:
        if kind == _PUBLISH:
            return _decode_publish(first, body)
        if kind == _PUBACK:
            return Puback(unpack_from(">H", body)[0], body[2] if len(body) > 2 else 0)
        if kind == _CONNACK:
            found, _ = _properties(body, 2)
            return Connack(bool(body[0] & 1), body[1], found.get(_RECEIVE_MAXIMUM, 65_535), found.get(_KEEP_ALIVE))
        if kind == _SUBACK:
            _, ends = _properties(body, 2)
            return Suback(unpack_from(">H", body)[0], tuple(body[ends:]))
        if kind == _PINGRESP:
            return Pingresp()
        if kind == _DISCONNECT:
            return Disconnect(body[0] if body else 0)
    except (IndexError, ValueError, StructError) as error:
        raise BadMessage(f"a packet of kind {kind} with {len(body)} bytes cannot be read: {error}") from error
    raise BadMessage(f"a broker sends no packet of kind {kind} to a client")


def _decode_publish(first: int, body: bytes) -> Publish:
    qos = first >> 1 & 3
    if qos == 3:
        raise BadMessage("a message at QoS 3")
    (size,) = unpack_from(">H", body)
    at = 2 + size
    if at > len(body):
        raise BadMessage("a topic ends too early")
    topic, packet_id = body[2:at].decode(), 0
    if qos:
        (packet_id,) = unpack_from(">H", body, at)
        at += 2
    _, at = _properties(body, at)
    return Publish(topic, body[at:], qos, packet_id, bool(first & 1), bool(first & 8))


def _properties(body: bytes, at: int) -> tuple[dict[int, int], int]:
    """Return the properties that are integers, and where what follows them starts."""
    size, at = _read_varint(body, at)
    ends = at + size
    if ends > len(body):
        raise BadMessage("properties end too early")
    found: dict[int, int] = {}
    while at < ends:
        name, at = _read_varint(body, at)
        layout = _LAYOUT.get(name)
        if isinstance(layout, int):
            found[name] = int.from_bytes(body[at : at + layout], "big")
            at += layout
        elif layout == "varint":
            found[name], at = _read_varint(body, at)
        elif layout is None:
            raise BadMessage(f"there is no property {name}")
        else:
            for _ in range(2 if layout == "pair" else 1):
                at += 2 + int(unpack_from(">H", body, at)[0])
    if at != ends:
        raise BadMessage("properties end within one")
    return found, ends


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    number = 0
    for step in range(4):
        byte = body[at + step]
        number |= (byte & 0x7F) << 7 * step
        if byte < 0x80:
            return number, at + step + 1
    raise BadMessage("a variable byte integer has more than four bytes")


def _varint(number: int) -> bytes:
    if number > MAX_REMAINING:
        raise BadMessage(f"{number} bytes are more than a packet holds")
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | 0x80 if number else low)
        if not number:
            return bytes(out)


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _varint(len(body)) + body


def _binary(data: bytes) -> bytes:
    return pack(">H", len(data)) + data


def _text(text: str) -> bytes:
    return _binary(text.encode())
