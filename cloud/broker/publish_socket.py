"""PUBLISH packets past paho: a socket takes them out of the stream by the read, and leaves the rest of MQTT to paho.

paho spends some 40 us on a packet, more than decoding a summary takes: it asks for byte, byte and rest, and makes objects for the
properties. Of a PUBLISH (MQTT 5, 3.3) there are needed topic, packet id and payload.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from cloud.broker.buffered_socket import BufferedSocket

_PUBLISH = 0x30
# A remaining length has 4 bytes at most (1.5.5).
_MOST_LENGTH_BYTES = 4


class Published(NamedTuple):
    """A PUBLISH. `mid` is its packet id, 0 with QoS 0."""

    topic: bytes
    payload: bytes
    qos: int
    mid: int


class PublishSocket(BufferedSocket):
    """`recv` gives all but PUBLISH packets; these wait in `published`."""

    def __init__(self, inner: socket.socket) -> None:
        super().__init__(inner)
        self._raw = bytearray()
        self._published: list[Published] = []

    def published(self) -> list[Published]:
        """Return the PUBLISH packets that came since the last call, in order."""
        taken, self._published = self._published, []
        return taken

    def acknowledge(self, mids: list[int]) -> None:
        """Take a PUBACK for each packet id, to be sent by `flush`.

        Raises:
            BlockingIOError: too much waits already; none was taken.
        """
        self.send(b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids]))

    def _more(self) -> bytes:
        data = super()._more()
        if not data:
            return b""  # the end; half a packet is of no use
        self._raw += data
        if not (others := self._split()):
            raise BlockingIOError("nothing but PUBLISH packets came")
        return others

    def _split(self) -> bytes:
        """Move whole packets out of what was read; return those that are no PUBLISH."""
        raw, at, others = self._raw, 0, bytearray()
        while len(raw) - at >= 2:
            length, body, shift = 0, at + 1, 0
            while body < len(raw):
                byte = raw[body]
                length |= (byte & 0x7F) << shift
                body, shift = body + 1, shift + 7
                if byte < 0x80 or body - at > _MOST_LENGTH_BYTES:
                    break
            else:
                break  # the length is not whole yet
            if byte >= 0x80:
                others += raw[at:]  # no MQTT: paho says so
                at = len(raw)
                break
            end = body + length
            if end > len(raw):
                break
            if raw[at] & 0xF0 == _PUBLISH:
                self._published.append(_read_publish(raw[at], raw, body, end))
            else:
                others += raw[at:end]
            at = end
        del raw[:at]
        return bytes(others)


def _read_publish(first: int, raw: bytearray, at: int, end: int) -> Published:
    """Read the packet whose flags are in `first` and whose variable header and payload are raw[at:end].

    Raises:
        ConnectionError: it is none, or of QoS 2, which nobody asked for; nothing after it can be trusted.
    """
    qos = first >> 1 & 3
    topic_at = at + 2
    mid_at = topic_at + int.from_bytes(raw[at:topic_at], "big")
    mid_end = mid_at + 2 if qos else mid_at
    # The properties: their length, as many bytes as they need, then themselves.
    length, body, shift = 0, mid_end, 0
    while body < end:
        byte = raw[body]
        length |= (byte & 0x7F) << shift
        body, shift = body + 1, shift + 7
        if byte < 0x80:
            break
    payload_at = body + length
    if qos > 1 or body == mid_end or shift > 7 * _MOST_LENGTH_BYTES or byte >= 0x80 or payload_at > end:
        raise ConnectionError("the broker sent a PUBLISH that cannot be read")
    mid = int.from_bytes(raw[mid_at:mid_end], "big")
    return Published(bytes(raw[topic_at:mid_at]), bytes(memoryview(raw)[payload_at:end]), qos, mid)


def encode_publish(topic: str, payload: bytes, retain: bool) -> bytes:
    """Return a PUBLISH of QoS 0 without properties (MQTT 5, 3.3)."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + b"\0" + payload
    left, length = len(body), bytearray()
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes((_PUBLISH | retain, *length, left)) + body
