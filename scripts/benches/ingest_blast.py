"""A publisher as fast as it can be made: summaries encoded beforehand, one connection, QoS 1, a window of unacknowledged ones.

usage: python -m scripts.benches.ingest_blast PORT STATIONS EACH SEED
"""

from __future__ import annotations

import secrets
import socket
import sys
import time

from contract.messages import Header
from contract.topics import Channel, topic
from scripts.fleet.mqtt_codec import DISCONNECT, Connack, Puback, Publish, Reader, encode_connect, encode_publish
from scripts.fleet.payloads import make_templates

_WINDOW = 500
_TEMPLATES = 8


def main() -> int:
    """Wait for a line on stdin, publish, and print how many the broker has taken."""
    port, stations, each, seed = (int(argument) for argument in sys.argv[1:])
    templates = make_templates(_TEMPLATES, seed)
    run, began_at = secrets.token_hex(4), time.time() - 86_400.0
    packets: list[bytes] = []
    # Station after station within each round of sequences: a batch of a worker holds many stations.
    for seq in range(1, each + 1):
        for number in range(stations):
            name = f"blast-{run}-{number}"
            header = Header(name, run, seq, began_at + seq, began_at + seq + 1.0, float(seq), True, "b" * 64)
            payload = templates[number % _TEMPLATES].payload(header)
            packet_id = len(packets) % 65_535 + 1
            packets.append(encode_publish(Publish(topic(name, Channel.SUMMARY), payload, 1, packet_id)))
    print("ready", flush=True)
    sys.stdin.readline()
    print(blast(port, packets), flush=True)
    return 0


def blast(port: int, packets: list[bytes]) -> int:
    """Publish `packets` to the broker on loopback and return how many it took and gave to somebody."""
    reader, heard, sent, answered = Reader(), 0, 0, 0
    hello = encode_connect(
        f"blast-{secrets.token_hex(4)}", keep_alive_s=600, session_expiry_s=0, receive_maximum=_WINDOW
    )
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(hello)
        window = 0
        while answered < len(packets):
            for packet in reader.feed(line.recv(65_536)):
                if isinstance(packet, Connack):
                    window = min(_WINDOW, packet.receive_maximum)
                elif isinstance(packet, Puback):
                    answered += 1
                    heard += packet.reason == 0
            if (room := window - (sent - answered)) > 0 and sent < len(packets):
                line.sendall(b"".join(packets[sent : sent + room]))
                sent += len(packets[sent : sent + room])
        line.sendall(DISCONNECT)
    return heard


if __name__ == "__main__":
    sys.exit(main())
