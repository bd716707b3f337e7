"""MQTT control packets out of a byte stream that comes in pieces (OASIS MQTT 5.0, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

LARGEST_REMAINING = 268_435_455


class Kind(IntEnum):
    """Table 2-1."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class NotMqtt(Exception):
    """The bytes are no MQTT packet."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: `raw` is all of it, `body_at` is where the fixed header ends."""

    kind: Kind
    raw: bytes
    body_at: int

    @property
    def qos(self) -> int:
        """Of a PUBLISH."""
        return (self.raw[0] >> 1) & 3

    @property
    def dup(self) -> bool:
        """Of a PUBLISH."""
        return bool(self.raw[0] & 8)

    @property
    def topic(self) -> str:
        """Of a PUBLISH, "" for the others."""
        if self.kind is not Kind.PUBLISH:
            return ""
        return self._text_at(self.body_at)[0]

    @property
    def packet_id(self) -> int:
        """Of a PUBLISH with QoS or of an acknowledgement, 0 for the others."""
        at = self.body_at
        if self.kind is Kind.PUBLISH:
            if not self.qos:
                return 0
            at = self._text_at(at)[1]
        elif not Kind.PUBACK <= self.kind <= Kind.UNSUBACK:
            return 0
        return int.from_bytes(self.raw[at : at + 2], "big")

    @property
    def payload(self) -> bytes:
        """Of a PUBLISH."""
        at = self._text_at(self.body_at)[1] + (2 if self.qos else 0)
        size = read_varint(self.raw, at)
        if size is None:
            raise NotMqtt("its properties are cut off")
        return self.raw[size[1] + size[0] :]

    def _text_at(self, at: int) -> tuple[str, int]:
        end = at + 2 + int.from_bytes(self.raw[at : at + 2], "big")
        return self.raw[at + 2 : end].decode(errors="replace"), end


class Framer:
    """Holds the bytes of a packet that is not whole yet."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.is_mqtt = True
        """False from when something came that no packet begins with: that and all after it is in `held`."""

    @property
    def held(self) -> bytes:
        """What came and is no whole packet yet."""
        return bytes(self._held)

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that are whole now, in order."""
        self._held += data
        packets: list[Packet] = []
        while self.is_mqtt and len(self._held) >= 2:
            try:
                size = read_varint(self._held, 1)
            except NotMqtt:
                size = None
                self.is_mqtt = False
            # Packet type 0 is reserved.
            self.is_mqtt = self.is_mqtt and self._held[0] >> 4 != 0
            if not self.is_mqtt or size is None or len(self._held) < size[0] + size[1]:
                break
            raw = bytes(self._held[: size[0] + size[1]])
            del self._held[: len(raw)]
            packets.append(Packet(Kind(raw[0] >> 4), raw, size[1]))
        return packets


def read_varint(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return (value, index after it) of the variable byte integer at `at`, None where it is cut off (1.5.5).

    Raises:
        NotMqtt: it is longer than four bytes.
    """
    value = 0
    for place in range(4):
        if at + place >= len(data):
            return None
        value |= (data[at + place] & 0x7F) << (7 * place)
        if not data[at + place] & 0x80:
            return value, at + place + 1
    raise NotMqtt("a length of more than four bytes")


def varint(value: int) -> bytes:
    """Return `value` as a variable byte integer."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def publish(topic: str, payload: bytes, *, qos: int = 0, packet_id: int = 1, retain: bool = False) -> bytes:
    """Return a PUBLISH without properties."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + (packet_id.to_bytes(2, "big") if qos else b"") + b"\x00" + payload
    return bytes([Kind.PUBLISH << 4 | qos << 1 | retain]) + varint(len(body)) + body


def connect(client_id: str, *, keepalive_s: int = 60, clean: bool = True) -> bytes:
    """Return an MQTT 5 CONNECT without Will or credentials."""
    name = client_id.encode()
    head = b"\x00\x04MQTT\x05" + (b"\x02" if clean else b"\x00") + keepalive_s.to_bytes(2, "big") + b"\x00"
    body = head + len(name).to_bytes(2, "big") + name
    return bytes([Kind.CONNECT << 4]) + varint(len(body)) + body
