"""P8 on the wire: every byte between a station and its cloud is recorded, and none is of an image where the policy says "never".

A real station, cloud and broker, with a recording proxy before broker and HTTP server. Frames are noise: whatever of them leaves is
recognised, in whatever wrapping (`tests.image_leaks`). The station is unsure and has fallback switched on, drifts, updates, follows
settings and a kit, and is asked for every frame it kept, by the real cloud and by name. A line's controller listens by MQTT, a
collector takes spans of every frame, and the local API is asked for all that it has: those are recorded too. The same is done under
"requested", where the same detector must find frames: or this test would show nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import paho.mqtt.client as paho
import pytest
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions
from PIL import Image

from agent.windows import LEAST_OF_NO_ONE
from cloud.__main__ import main
from cloud.registry.keys import load_keys
from cloud.registry.release import Registry, release_archive
from contract.codec import decode_control, decode_summary, encode_control
from contract.messages import Command, CommandResult
from contract.topics import Channel, topic
from tests.fakes.cloud_tables import open_tables
from tests.fixtures_broker import ROOT, Broker, free_port, start_broker
from tests.image_leaks import KnownImages
from tests.recording_proxy import RecordingProxy
from tests.station_process import STATION, Station, wait_for
from tests.tiny_bundle import write_bundle

pytestmark = pytest.mark.slow

SIDE = 96
FRAMES = 18


def noisy_frames() -> list[NDArray[np.uint8]]:
    """Return frames of noise: bright ones pass, dark ones are rejected, those between leave the model unsure."""
    rng = np.random.default_rng(20261130)
    centres = (215, 40, 120)
    return [
        (centres[n % 3] + rng.integers(-38, 39, (SIDE, SIDE))).astype(np.uint8) for n in range(FRAMES)
    ]  # fmt: skip


def png_of(frame: NDArray[np.uint8]) -> bytes:
    body = io.BytesIO()
    Image.fromarray(frame).save(body, "PNG")
    return body.getvalue()


class Taker(BaseHTTPRequestHandler):
    """A collector of spans: takes whatever it is sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take it."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Plant:
    """A broker, a cloud and a station that trusts it, and between them the proxies that record."""

    def __init__(self, folder: Path, broker: Broker, policy: str) -> None:
        self.folder, self.home, self.broker = folder, folder / "plant", broker
        port = free_port()
        self.command("init", "--home", str(self.home), "--api-port", str(port), "--broker-port", str(broker.port))
        self.config = str(self.home / "cloud.toml")
        with Path(self.config).open("a") as file:
            file.write(
                "\n[review]\nroutine_per_day = 5000\naudit_share = 0.5\nask_again_s = 1.0\n"
                "[rollout]\nwave_shares = []\nprobation_frames = 60\nmin_agreement = 0.5\nserve_s = 0.5\nsoak_s = 0.0\n"
            )
        self.command("station", "add", STATION, "--out", str(folder / "device"), "--config", self.config)
        registry, keys = Registry(self.home / "registry"), load_keys(self.home / "keys")
        for version in ("v1", "v2"):
            release_archive(
                write_bundle(folder / f"{version}.plb", version=version, pass_at=0.5), registry, keys, time.time() - 60
            )
        self.frames = noisy_frames()
        (folder / "parts").mkdir()
        self.files = [png_of(frame) for frame in self.frames]
        for number, body in enumerate(self.files):
            (folder / "parts" / f"part{number:02d}.png").write_bytes(body)
        self.mqtt, self.http = RecordingProxy(broker.port), RecordingProxy(port)
        self.api = f"http://127.0.0.1:{port}"
        self.line = RecordingProxy(broker.port)
        self._collector = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        threading.Thread(target=self._collector.serve_forever, daemon=True).start()
        self.spans = RecordingProxy(self._collector.server_port)
        self.local = f"http://127.0.0.1:{free_port()}"
        self.answered: list[bytes] = []
        trust = 'root = "device/trust/root.json"\norder_keys = ["device/trust/order_key.json"]\n'
        self.station = Station(
            folder,
            self.mqtt.port,
            extra=f'[cloud]\nurl = "http://127.0.0.1:{self.http.port}"\ntoken_file = "device/station.token"\n'
            f"[trust]\n{trust}[api]\nport = {self.local.rpartition(':')[2]}\n[policy]\n{policy}\n"
            f'[trace]\nendpoint = "http://127.0.0.1:{self.spans.port}/v1/traces"\nshare = 1.0\n'
            f'[plc]\nkind = "mqtt"\nport = {self.line.port}\ntopic = "line/3"\ntriggers = false\n',
        )
        text = self.station.config.read_text()
        source = f'kind = "folder"\nfolder = "{folder}/parts"\nfps = 40.0\n'
        text = text.replace("fps = 200.0\nheight = 32\nwidth = 32\n", source)
        self.station.config.write_text(text.replace("deadline_ms", "queue = 200\ndeadline_ms"))
        self.commands: list[str] = []
        self.results: list[CommandResult] = []
        self.sketched: list[int] = []
        """Of how many frames each window's sketches were."""
        self._server = self._serve()
        self._client = self._listen()

    def command(self, *words: str) -> str:
        """Run plumbline-cloud; return what it printed."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main(list(words))
        assert code == 0, out.getvalue()
        return out.getvalue()

    def order(self, name: str, **arguments: object) -> CommandResult:
        """Send a command as the cloud does; return the station's answer."""
        number = f"test-{len(self.commands)}"
        self.commands.append(number)
        wanted = Command(number, STATION, name, time.time() + 60, dict(arguments))
        self._client.publish(topic(STATION, Channel.COMMAND), encode_control(wanted), qos=1)
        wait_for(lambda: any(result.id == number for result in self.results))
        return next(result for result in self.results if result.id == number)

    def live(self) -> None:
        """All that makes a station talk."""
        station = self.station
        station.start()
        wait_for(lambda: station.rows() > 150)
        kept = [str(row[0]) for row in station.query("SELECT sample FROM samples")]
        assert len(kept) > 20
        assert self.order("upload_samples", samples=kept[:64]).detail
        # Its review asks for frames as it begins, and then every ten minutes: by then it must know of some, and of the station.
        wait_for(self.known_to_the_cloud)
        self._server.kill()
        self._server.wait()
        self._server = self._serve()
        wait_for(self.asked_by_the_cloud)
        assert self.order("drift", alarmed=True, why="the lens fogs").ok
        before = station.last_id()
        wait_for(lambda: station.last_id() > before + 40)
        assert self.order("drift", alarmed=False).ok and self.order("re_enrol").ok
        overlay = self.folder / "overlay.toml"
        overlay.write_text("[windows]\nframes = 30\n")
        self.command(
            "config", "set", STATION, "--file", str(overlay), "--probation-s", "6", "--reason", "shorter",
            "--config", self.config,
        )  # fmt: skip
        wait_for(lambda: "COMMITTED" in self.command("config", "show", STATION, "--json", "--config", self.config))
        wait_for(self.updated)
        kit = self.folder / "kit.plk"
        self.command("kit", "make", "--station", STATION, "--version", "v2", "--out", str(kit), "--config", self.config)
        applied = subprocess.run(
            (sys.executable, "-m", "agent", "update", "apply", str(kit), "--config", str(station.config)),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert applied.returncode == 0, applied.stdout + applied.stderr
        before = station.last_id()
        wait_for(lambda: station.last_id() > before + 60)
        newest = [str(row[0]) for row in station.query("SELECT sample FROM samples ORDER BY captured_at DESC LIMIT 64")]
        assert self.order("upload_samples", samples=newest).detail
        self.ask_the_local_api()

    def ask_the_local_api(self) -> None:
        """Ask for all that the station itself has to say, images' addresses that there are not included."""
        newest = httpx.get(f"{self.local}/v1/decisions?limit=200").json()["decisions"]
        addresses = ["/healthz", "/metrics", "/v1/status", "/v1/decisions?limit=200", "/v1/samples", "/v1/images"]
        for address in (*addresses, *(f"/v1/decisions/{row['id']}" for row in newest[:20])):
            self.answered.append(httpx.get(f"{self.local}{address}").content)
        assert b"part00" in b"".join(self.answered), "it tells of parts"

    def known_to_the_cloud(self) -> bool:
        """Return whether the cloud's database has a frame that its review may ask for, and its station as one that listens."""
        tables = open_tables(self.home / "cloud.db")
        try:
            online = any(status.online for status in tables.stations.status())
            return online and any(each.reason == "audit" for each in tables.samples.unasked(STATION, "", 0.0))
        finally:
            tables.database.close()

    def asked_by_the_cloud(self) -> bool:
        """Return whether the cloud's own review has asked for frames and was answered."""
        return any(not result.id.startswith("test-") for result in self.results)

    def updated(self) -> bool:
        """Return whether the station runs v1, ordered once."""
        if "v1" not in self.commands:
            self.commands.append("v1")
            self.command("rollout", "start", "--version", "v1", "--reason", "first", "--config", self.config)
        shown = self.command("rollout", "list", "--json", "--config", self.config)
        assert "ABORTED" not in shown, shown
        return "DONE" in shown

    def close(self) -> None:
        self.station.close()
        self._client.disconnect()
        self._client.loop_stop()
        self._server.kill()
        self._server.wait()
        for each in (self.mqtt, self.http, self.line, self.spans):
            each.close()
        self._collector.shutdown()
        self._collector.server_close()

    def _serve(self) -> subprocess.Popen[bytes]:
        with (self.folder / "serve.log").open("ab") as log:
            server = subprocess.Popen(
                (sys.executable, "-m", "cloud", "serve", "--config", self.config),
                stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "default"},
            )  # fmt: skip
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.api}/healthz", timeout=30).is_success:
                    return server
            time.sleep(0.05)
        raise AssertionError((self.folder / "serve.log").read_text())

    def _listen(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=paho.MQTTv5)

        def take(_client: object, _data: object, message: paho.MQTTMessage) -> None:
            if message.topic == topic(STATION, Channel.SUMMARY):
                if (window := decode_summary(message.payload).window) is not None:
                    self.sketched.append(window.frames)
            else:
                self.results.append(decode_control(message.payload, CommandResult))

        client.on_message = take
        client.on_connect = lambda client, *_: client.subscribe(
            [(topic(STATION, each), SubscribeOptions(qos=1)) for each in (Channel.RESULT, Channel.SUMMARY)]
        )
        client.connect("127.0.0.1", self.broker.port)
        client.loop_start()
        return client


ASKS = "audit_rate = 0.5\nfallback = true\nfallback_per_s = 20.0\nfallback_burst = 50\ndeferred_per_hour = 100000"


@pytest.fixture(params=["never", "requested"])
def plant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Plant]]:
    broker = start_broker(tmp_path / "broker")
    try:
        made = Plant(tmp_path, broker, f'images_leave = "{request.param}"\n{ASKS}')
        try:
            yield request.param, made
        finally:
            made.close()
    finally:
        broker.kill()


def test_no_byte_of_an_image_leaves_a_station_that_says_never_and_the_same_detector_finds_them_elsewhere(
    plant: tuple[str, Plant],
) -> None:
    policy, made = plant
    made.live()
    assert made.station.end(signal.SIGTERM) == 0
    known = KnownImages(made.frames, made.files)
    found = known.leaks([*made.mqtt.everything(), *made.http.everything()])
    beside = [*made.line.everything(), *made.spans.everything()]
    assert sum(b'"PASS"' in each for each in beside) and sum(b"plumbline.verdict" in each for each in beside)
    assert known.leaks([*beside, *made.answered]) == [], (
        "to the line, the collector and who asks here, no image under any policy"
    )
    sent = sum(map(len, [*made.mqtt.sent(), *made.http.sent()]))
    captured = made.station.last_id()
    print(f"\n{policy}: {sent} bytes sent for {captured} frames, {sent / captured:.0f} a frame")
    answers = [
        result.detail for result in made.results if "sent" in result.detail or "no image leaves" in result.detail
    ]
    print(f"frames of windows with sketches: {sorted(made.sketched)[:8]}")
    if policy == "requested":
        assert any("a whole frame of 96 x 96" in each for each in found), "the detector sees what leaves"
        assert any("1 sent" in answer for answer in answers), "the cloud got what it asked for"
        return
    assert found == []
    assert len(made.sketched) > 3 and min(made.sketched) >= LEAST_OF_NO_ONE, "sums of a few frames would show one"
    assert len(answers) > 2 and all("no image leaves this station" in answer for answer in answers)
    assert sent / captured < SIDE * SIDE / 8, "and all that it sends of a frame is far smaller than one"
