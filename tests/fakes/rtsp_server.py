"""A real RTSP server on loopback: RTP/H.264 interleaved in TCP, with pictures that carry their number.

As a program (`python rtsp_server.py PORT`) it can be killed like a camera that loses power.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS, GROUP = 160, 96, 20, 10
_CLOCK_HZ = 90_000
_MTU = 1400


def numbered_picture(number: int) -> NDArray[np.uint8]:
    """Return u8[H,W,3] whose eight vertical stripes are the bits of `number` & 255; red is added so that RGB is no BGR."""
    bits = [(number >> bit) & 1 for bit in range(8)]
    stripe = np.repeat(np.array([40 + 160 * bit for bit in bits], np.uint8), WIDTH // 8)
    picture = np.repeat(np.tile(stripe, (HEIGHT, 1))[:, :, None], 3, axis=2)
    picture[:16] = (220, 30, 30)
    return picture


def number_in(pixels: NDArray[np.uint8]) -> int:
    """Return the number that a picture carries."""
    row = pixels[HEIGHT // 2].mean(axis=1).reshape(8, -1).mean(axis=1)
    return sum(1 << bit for bit, level in enumerate(row) if level > 120)


def encode(count: int) -> list[list[bytes]]:
    """Return `count` pictures as H.264 access units, each a list of NAL units; every GROUP-th is a key frame."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "qp": "20",
        "x264-params": f"keyint={GROUP}:scenecut=0:sliced-threads=0:threads=1:repeat-headers=1",
    }
    units = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
        frame.pts = number
        units += [list(_nals(bytes(packet))) for packet in context.encode(frame)]
    units += [list(_nals(bytes(packet))) for packet in context.encode(None)]
    assert len(units) == count
    return units


class RtspServer:
    """Serves the same pictures to every client, each from the beginning, at FPS in real time."""

    def __init__(self, port: int = 0, *, password: str = "", damage: int | None = None, burst: int = 0) -> None:
        """`password`: asked of user `u` by Basic authentication. `damage`: this picture is sent with a hole in it.

        `burst`: so many pictures of before are sent at once at the beginning, as a server does that keeps the last key frame.
        """
        self._units = encode(200)
        self._damage = damage
        self._burst = burst
        self.began_s: list[float] = []
        """When (monotonic) picture 0 of each connection was taken."""
        self.taken_s: dict[int, float] = {}
        """When each picture of the latest connection was: on a busy machine this server may send one later than it should."""
        self._auth = password and "Basic " + __import__("base64").b64encode(f"u:{password}".encode()).decode()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"rtsp://127.0.0.1:{self.port}/line"
        self.silent = threading.Event()
        self.clients = 0
        self._stop = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Drop every client at once."""
        self._stop.set()
        self.silent.clear()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(60)

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.clients += 1
            self._open.append(client)
            thread = threading.Thread(target=self._talk, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, client: socket.socket) -> None:
        lock, player = threading.Lock(), None
        gone = threading.Event()
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            while line := lines.readline():
                if line[:1] == b"$":
                    lines.read(struct.unpack(">H", (line + lines.read(max(0, 4 - len(line))))[2:4])[0])
                    continue
                method, url = line.split()[:2]
                headers = {}
                while (line := lines.readline().strip()) != b"":
                    key, _, value = line.decode().partition(":")
                    headers[key.strip().lower()] = value.strip()
                reply, body = self._reply(method.decode(), url.decode(), headers)
                head = f"{reply}CSeq: {headers['cseq']}\r\n" + (f"Content-Length: {len(body)}\r\n" if body else "")
                with lock:
                    client.sendall(f"{head}\r\n{body}".encode())
                if method == b"PLAY" and player is None and " 200 " in reply:
                    player = threading.Thread(target=self._play, args=(client, lock, gone), daemon=True)
                    player.start()
                if method == b"TEARDOWN":
                    break
        gone.set()
        if player is not None:
            player.join(60)

    def _reply(self, method: str, url: str, headers: dict[str, str]) -> tuple[str, str]:
        if self._auth and headers.get("authorization") != self._auth:
            return 'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\n', ""
        if not url.startswith(self.url) and "/line" not in url:
            return "RTSP/1.0 404 Not Found\r\n", ""
        ok = "RTSP/1.0 200 OK\r\nSession: 1;timeout=60\r\n"
        if method == "DESCRIBE":
            sdp = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=line\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            )
            return f"{ok}Content-Type: application/sdp\r\nContent-Base: {url}/\r\n", sdp
        if method == "SETUP":
            if "TCP" not in headers["transport"]:
                return "RTSP/1.0 461 Unsupported Transport\r\n", ""
            return f"{ok}Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""
        return f"{ok}Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n", ""

    def _play(self, client: socket.socket, lock: threading.Lock, gone: threading.Event) -> None:
        sequence, began = 0, time.monotonic() - self._burst / FPS
        self.began_s.append(began)
        with contextlib.suppress(OSError):
            number = 0
            while not (gone.is_set() or self._stop.is_set()):
                time.sleep(max(0.0, began + number / FPS - time.monotonic()))
                if self.silent.is_set():
                    number = int((time.monotonic() - began) * FPS) + 1
                    continue
                self.taken_s[number] = began + number / FPS if number < self._burst else time.monotonic()
                nals = list(self._units[number % len(self._units)])
                if number == self._damage:
                    nals[-1] = nals[-1][: len(nals[-1]) // 3] + b"\xff" * 20
                packets = [packet for nal in nals for packet in _payloads(nal)]
                for at, payload in enumerate(packets):
                    marker = 0x80 if at == len(packets) - 1 else 0
                    stamp = (number * _CLOCK_HZ // FPS) & 0xFFFFFFFF
                    rtp = struct.pack(">BBHII", 0x80, 96 | marker, sequence & 0xFFFF, stamp, 7) + payload
                    sequence += 1
                    with lock:
                        client.sendall(struct.pack(">cBH", b"$", 0, len(rtp)) + rtp)
                number += 1


def _nals(unit: bytes) -> Iterator[bytes]:
    for part in unit.split(b"\0\0\1")[1:]:
        yield part.rstrip(b"\0") if part[-1:] == b"\0" else part


def _payloads(nal: bytes) -> Iterator[bytes]:
    """Yield the RTP payloads of one NAL unit: itself, or FU-A fragments (RFC 6184, 5.8)."""
    if len(nal) <= _MTU:
        yield nal
        return
    kind, reference = nal[0] & 0x1F, nal[0] & 0xE0
    body = nal[1:]
    for at in range(0, len(body), _MTU):
        first, last = at == 0, at + _MTU >= len(body)
        yield bytes((reference | 28, first << 7 | last << 6 | kind)) + body[at : at + _MTU]


if __name__ == "__main__":
    server = RtspServer(int(sys.argv[1]))
    print(server.port, flush=True)
    sys.stdin.read()
    server.close()
